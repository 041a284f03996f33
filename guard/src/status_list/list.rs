//! A status list token as it arrives (Token Status List §5.1, §8.3): judged, inflated, and read bit by bit. Pure.
//!
//! Written against draft-ietf-oauth-status-list-18. Left out: CWT, aggregation.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use serde::Deserialize;

use crate::claims::NumericDate;

/// Clocks may disagree about when a list was made and when it ends. In seconds.
const LEEWAY: u64 = 60;

/// Why a status list token isn't taken, though its signature is right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ListError {
    #[error("the claims of the status list are malformed")]
    Malformed,
    #[error("the status list is of another issuer")]
    Issuer,
    #[error("the status list's sub isn't the address that it was fetched from")]
    Subject,
    #[error("the status list has expired")]
    Expired,
    #[error("the status list is from the future")]
    Future,
    #[error("the status list's bits aren't 1, 2, 4 or 8")]
    Bits,
    #[error("the status list can't be inflated, or is larger than allowed")]
    Compression,
}

/// A list that may be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StatusList {
    bits: u8,
    bytes: Vec<u8>,
    /// Whether any token's status isn't 0.
    pub(super) says_something: bool,
    /// When the issuer made it, in Unix seconds.
    pub(super) iat: u64,
    /// Not to be used from this time on, in Unix seconds.
    pub(super) exp: Option<u64>,
    /// How long a copy is good, in seconds.
    pub(super) ttl: Option<u64>,
}

#[derive(Deserialize)]
struct ListClaims {
    iss: Option<String>,
    sub: String,
    iat: NumericDate,
    exp: Option<NumericDate>,
    ttl: Option<NumericDate>,
    status_list: Compressed,
}

#[derive(Deserialize)]
struct Compressed {
    bits: u64,
    lst: String,
}

impl StatusList {
    /// Reads the payload of a status list token whose kind and signature are right. `max_bytes` is the most that the
    /// list may inflate to.
    pub(super) fn read(payload: &[u8], uri: &str, issuer: &str, now: u64, max_bytes: usize) -> Result<Self, ListError> {
        let claims: ListClaims = serde_json::from_slice(payload).map_err(|_| ListError::Malformed)?;
        // Since the keys are the issuer's, another `iss` would be a token for something else.
        if claims.iss.is_some_and(|iss| iss != issuer) {
            return Err(ListError::Issuer);
        }
        // §8.3: "The subject claim … MUST be equal to the uri claim in the status_list object of the Referenced Token":
        // else one list of the issuer could stand in for another.
        if claims.sub != uri {
            return Err(ListError::Subject);
        }
        let exp = claims.exp.map(|NumericDate(exp)| exp);
        if exp.is_some_and(|exp| now >= exp.saturating_add(LEEWAY)) {
            return Err(ListError::Expired);
        }
        let NumericDate(iat) = claims.iat;
        if iat > now.saturating_add(LEEWAY) {
            return Err(ListError::Future);
        }
        // §4.1: "The allowed values for bits are 1, 2, 4 and 8."
        let bits = match claims.status_list.bits {
            1 => 1,
            2 => 2,
            4 => 4,
            8 => 8,
            _ => return Err(ListError::Bits),
        };
        let compressed = URL_SAFE_NO_PAD.decode(&claims.status_list.lst).map_err(|_| ListError::Compression)?;
        // The limit ends the work as soon as it is passed, so that a small list can't fill the memory.
        let bytes = decompress_to_vec_zlib_with_limit(&compressed, max_bytes).map_err(|_| ListError::Compression)?;
        let says_something = bytes.iter().any(|byte| *byte != 0);
        Ok(Self { bits, bytes, says_something, iat, exp, ttl: claims.ttl.map(|NumericDate(ttl)| ttl) })
    }

    /// The status at an index, 0 being valid (§7.1); `None` beyond the end. §4.1 counts from the lowest bit of a byte.
    pub(super) fn status(&self, index: u64) -> Option<u8> {
        let per_byte = u64::from(8 / self.bits);
        let byte = *self.bytes.get(usize::try_from(index / per_byte).ok()?)?;
        let shift = u8::try_from(index % per_byte).ok()? * self.bits;
        let mask = u8::MAX >> (8 - self.bits);
        Some((byte >> shift) & mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miniz_oxide::deflate::compress_to_vec_zlib;
    use serde_json::{Value, json};

    const URI: &str = "https://example.com/statuslists/1";
    const ISSUER: &str = "https://example.com";
    const NOW: u64 = 1_800_000_000;

    fn read(change: impl Fn(&mut Value)) -> Result<StatusList, ListError> {
        let mut claims = json!({
            "iss": ISSUER, "sub": URI, "iat": NOW - 5, "exp": NOW + 600, "ttl": 5,
            "status_list": { "bits": 1, "lst": "eNrbuRgAAhcBXQ" },
        });
        change(&mut claims);
        StatusList::read(claims.to_string().as_bytes(), URI, ISSUER, NOW, 1 << 20)
    }

    #[test]
    fn the_drafts_examples_are_read_as_it_says() {
        let one_bit = read(|_| {}).unwrap();
        let statuses: Vec<_> = (0..17).map(|index| one_bit.status(index)).collect();
        let expected = [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1].map(Some);
        assert_eq!(statuses, [&expected[..], &[None]].concat());
        assert_eq!((one_bit.ttl, one_bit.exp, one_bit.iat), (Some(5), Some(NOW + 600), NOW - 5));
        let two_bits = read(|claims| claims["status_list"] = json!({ "bits": 2, "lst": "eNo76fITAAPfAgc" })).unwrap();
        let statuses: Vec<_> = (0..13).map(|index| two_bits.status(index)).collect();
        assert_eq!(statuses, [&[1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3].map(Some)[..], &[None]].concat());
    }

    #[test]
    fn wider_entries_take_their_bits() {
        let lst = URL_SAFE_NO_PAD.encode(compress_to_vec_zlib(&[0xA3, 0xFF], 9));
        let four = read(|claims| claims["status_list"] = json!({ "bits": 4, "lst": lst })).unwrap();
        assert_eq!([0, 1, 2, 3, 4].map(|index| four.status(index)), [Some(3), Some(10), Some(15), Some(15), None]);
        let eight = read(|claims| claims["status_list"] = json!({ "bits": 8, "lst": lst })).unwrap();
        assert_eq!([0, 1, 2, u64::MAX].map(|index| eight.status(index)), [Some(0xA3), Some(0xFF), None, None]);
    }

    #[test]
    fn a_list_that_breaks_a_rule_is_not_taken() {
        type Change = fn(&mut Value);
        let cases: [(Change, ListError); 17] = [
            (|claims| claims["sub"] = json!("https://example.com/statuslists/2"), ListError::Subject),
            (|claims| claims["sub"] = json!("https://example.com/statuslists/1/"), ListError::Subject),
            (|claims| claims["sub"] = Value::Null, ListError::Malformed),
            (|claims| claims["iss"] = json!("https://evil.example"), ListError::Issuer),
            (|claims| claims["exp"] = json!(NOW - 60), ListError::Expired),
            (|claims| claims["exp"] = json!("never"), ListError::Malformed),
            (|claims| claims["iat"] = json!(NOW + 61), ListError::Future),
            (|claims| drop(claims.as_object_mut().unwrap().remove("iat")), ListError::Malformed),
            (|claims| claims["ttl"] = json!(-5), ListError::Malformed),
            (|claims| claims["status_list"]["bits"] = json!(3), ListError::Bits),
            (|claims| claims["status_list"]["bits"] = json!(0), ListError::Bits),
            (|claims| claims["status_list"]["bits"] = json!("1"), ListError::Malformed),
            (|claims| claims["status_list"]["lst"] = json!("eNrbuRgAAhcBXQ=="), ListError::Compression),
            (|claims| claims["status_list"]["lst"] = json!("eNrbuRgAAhcBXA"), ListError::Compression),
            (|claims| claims["status_list"]["lst"] = json!(""), ListError::Compression),
            (|claims| claims["status_list"]["lst"] = json!("eNrbuRg"), ListError::Compression),
            (|claims| drop(claims.as_object_mut().unwrap().remove("status_list")), ListError::Malformed),
        ];
        for (number, (change, error)) in cases.into_iter().enumerate() {
            assert_eq!(read(change).unwrap_err(), error, "case {number}");
        }
        assert!(read(|claims| drop(claims.as_object_mut().unwrap().remove("iss"))).is_ok(), "§5.1 doesn't ask for iss");
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        // A thousandfold: 16 MiB from some 16 KiB.
        let bomb = compress_to_vec_zlib(&vec![0; 16 << 20], 1);
        assert!(bomb.len() < 100_000);
        let lst = URL_SAFE_NO_PAD.encode(&bomb);
        let swollen = read(|claims| claims["status_list"]["lst"] = json!(lst));
        assert_eq!(swollen.unwrap_err(), ListError::Compression);
        let fits = URL_SAFE_NO_PAD.encode(compress_to_vec_zlib(&vec![0; 1 << 20], 1));
        let list = read(|claims| claims["status_list"]["lst"] = json!(fits)).unwrap();
        assert_eq!((list.status((8 << 20) - 1), list.status(8 << 20)), (Some(0), None));
        let one_more = URL_SAFE_NO_PAD.encode(compress_to_vec_zlib(&vec![0; (1 << 20) + 1], 1));
        assert!(read(|claims| claims["status_list"]["lst"] = json!(one_more)).is_err());
    }
}
