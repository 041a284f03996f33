//! Status lists (draft-ietf-oauth-status-list-21): one bit for each token, packed, compressed and written as JSON; which
//! index a token gets; and for how long a signed list may be used. Left out: statuses of more than one bit (a token is
//! revoked or not), and the CBOR forms.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;

use crate::timestamp::Timestamp;

/// Entries of a list (protocol decision 20), as a power of two. Two kilobytes would do for the bits of a small server;
/// a list is large so that an index says little of whose it is.
const ENTRY_BITS: u32 = 17;

/// Entries of a list.
pub const ENTRIES: i64 = 1 << ENTRY_BITS;

/// Seconds for which whoever fetched a list keeps it (§5.1, `ttl`).
pub const TTL: u64 = 5;

/// Seconds for which a signed list stands. Older ones are refused, so that nobody can hold back what was revoked for
/// longer by showing an old list.
pub const LIFETIME: u64 = 600;

/// §8.1: the media type of a list as a signed JWT.
pub const MEDIA_TYPE: &str = "application/statuslist+jwt";

/// The place of one token in one list, as a single number: the list's own number, and the position in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot(i64);

impl Slot {
    /// The slot at this index of this list.
    pub const fn new(list: i64, index: i64) -> Self {
        Self((list << ENTRY_BITS) | (index & (ENTRIES - 1)))
    }

    /// From the number that was stored.
    pub const fn from_number(number: i64) -> Self {
        Self(number)
    }

    /// The number to store.
    pub const fn number(self) -> i64 {
        self.0
    }

    /// The list.
    pub const fn list(self) -> i64 {
        self.0 >> ENTRY_BITS
    }

    /// The index in the list (§6.1, `idx`).
    pub const fn index(self) -> i64 {
        self.0 & (ENTRIES - 1)
    }
}

/// The index that comes at this position of a list, by a permutation that `mix` decides (§12.5.2: indices that tell
/// neither the order of tokens nor their number). `mix` is a keyed function of round and half, so that who doesn't hold
/// the key can't go back.
///
/// A Feistel network over one bit more than an index has, walked until it falls into the range: every position gives
/// another index.
pub fn permuted(position: i64, mix: impl Fn(u8, u32) -> u32) -> i64 {
    const HALF: u32 = ENTRY_BITS.div_ceil(2);
    const MASK: u32 = (1 << HALF) - 1;
    let mut value = u32::try_from(position & (ENTRIES - 1)).unwrap_or_default();
    loop {
        let (mut left, mut right) = (value >> HALF, value & MASK);
        for round in 0..4 {
            (left, right) = (right, left ^ (mix(round, right) & MASK));
        }
        value = (left << HALF) | right;
        if i64::from(value) < ENTRIES {
            return i64::from(value);
        }
    }
}

/// The bits of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusList(Vec<u8>);

impl Default for StatusList {
    /// Every token is valid.
    fn default() -> Self {
        Self(vec![0; usize::try_from(ENTRIES / 8).unwrap_or_default()])
    }
}

impl StatusList {
    /// §4.1: bit `index mod 8`, counted from the least significant, of octet `index div 8`. `true` where it wasn't set
    /// before.
    pub fn revoke(&mut self, index: i64) -> bool {
        let Some(octet) = usize::try_from(index / 8).ok().and_then(|at| self.0.get_mut(at)) else { return false };
        let bit = 1 << (index & 7);
        let fresh = *octet & bit == 0;
        *octet |= bit;
        fresh
    }

    /// §4.1, §4.2: compressed by DEFLATE in the ZLIB format, in base64url.
    pub fn compressed(&self) -> String {
        /// The best that the library does; a list of few revoked tokens is compressed in a millisecond.
        const LEVEL: u8 = 9;
        BASE64_URL_SAFE_NO_PAD.encode(miniz_oxide::deflate::compress_to_vec_zlib(&self.0, LEVEL))
    }
}

/// §5.1: the claims of a list. Times are seconds since the epoch.
#[derive(Debug, Serialize)]
pub struct StatusListClaims<'a> {
    /// The server.
    pub iss: &'a str,
    /// The address of the list, as it stands in tokens.
    pub sub: &'a str,
    /// When it was signed.
    pub iat: i64,
    /// When it stops to stand.
    pub exp: i64,
    /// For how long it is kept.
    pub ttl: u64,
    /// The bits.
    pub status_list: EncodedList<'a>,
}

/// §4.2: a list in JSON.
#[derive(Debug, Serialize)]
pub struct EncodedList<'a> {
    /// Bits of an entry.
    pub bits: u8,
    /// The entries, compressed.
    pub lst: &'a str,
    /// §9.2: where the addresses of all lists are.
    pub aggregation_uri: &'a str,
}

impl<'a> StatusListClaims<'a> {
    /// The claims of a list that is signed now.
    pub fn new(iss: &'a str, sub: &'a str, aggregation_uri: &'a str, lst: &'a str, now: Timestamp) -> Self {
        let status_list = EncodedList { bits: 1, lst, aggregation_uri };
        Self { iss, sub, iat: now.seconds(), exp: now.plus_seconds(LIFETIME).seconds(), ttl: TTL, status_list }
    }
}

/// Whether a list that was signed then is still good enough to be handed out: for the second half of its life it is
/// signed anew, so that who fetched it has time to use it.
pub fn still_fresh(signed_at: Timestamp, now: Timestamp) -> bool {
    now < signed_at.plus_seconds(LIFETIME / 2)
}

/// §6.1: the `status` claim of a token.
#[derive(Debug, Clone, Serialize)]
pub struct Status<'a> {
    /// The one mechanism that is used.
    pub status_list: StatusReference<'a>,
}

/// §6.1: which bit of which list.
#[derive(Debug, Clone, Serialize)]
pub struct StatusReference<'a> {
    /// The index.
    pub idx: i64,
    /// The address of the list.
    pub uri: &'a str,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_permutation_is_one() {
        let mix = |round: u8, half: u32| (half ^ u32::from(round).wrapping_mul(77)).wrapping_mul(2_654_435_761) >> 7;
        let seen: BTreeSet<i64> = (0..ENTRIES).map(|position| permuted(position, mix)).collect();
        assert_eq!(seen.len() as i64, ENTRIES);
        assert_eq!((seen.first(), seen.last()), (Some(&0), Some(&(ENTRIES - 1))));
    }

    #[test]
    fn slots_survive_storage() {
        for (list, index) in [(0, 0), (1, ENTRIES - 1), (7, 4711)] {
            let slot = Slot::from_number(Slot::new(list, index).number());
            assert_eq!((slot.list(), slot.index()), (list, index));
        }
    }

    /// The example of §4.1: statuses 1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1 are the octets B9 A3.
    #[test]
    fn bits_stand_as_in_the_draft() {
        let mut list = StatusList::default();
        for (index, status) in [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1].into_iter().enumerate() {
            if status == 1 {
                assert!(list.revoke(index as i64));
                assert!(!list.revoke(index as i64), "it was set before");
            }
        }
        assert_eq!(list.0[..3], [0xb9, 0xa3, 0]);
        assert!(!list.revoke(ENTRIES) && !list.revoke(-8), "beyond the list");
        let zlib = BASE64_URL_SAFE_NO_PAD.decode(list.compressed()).unwrap();
        assert_eq!(zlib[0], 0x78, "RFC 1950 §2.2: deflate with a window of 32 KB");
        assert_eq!(miniz_oxide::inflate::decompress_to_vec_zlib(&zlib).unwrap(), list.0);
        assert!(zlib.len() < 200, "{}", zlib.len());
    }

    #[test]
    fn a_list_is_signed_anew_at_half_its_life() {
        let signed = Timestamp::from_seconds(1000);
        assert!(still_fresh(signed, signed.plus_seconds(299)) && !still_fresh(signed, signed.plus_seconds(300)));
    }
}
