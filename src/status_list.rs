//! Status lists (draft-ietf-oauth-status-list-21): places for new tokens, and the signed lists.
//!
//! A node takes places in blocks and hands them out in memory. What it serves is at most a second old: the first request
//! after that asks the database what ended since the last look, and signs a list anew only where a bit changed, the
//! signature's end nears or the key was rotated. Nobody asks: nothing happens.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Bytes;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use keyward_guard::AccessToken;
use keyward_keys::TokenType;
use keyward_protocol::Timestamp;
use keyward_protocol::status_list::{Slot, StatusList, StatusListClaims, permuted, still_fresh};
use tokio::sync::Mutex;

use crate::app::App;
use crate::endpoint::provider_metadata::etag;
use crate::fault::Fault;
use crate::issuer;
use crate::store::status_list::{LEASE, Lease};

/// Where the lists are, below the public address.
pub const PATH: &str = "/status-lists";

/// Seconds for which a node serves what it knows without another look.
const LOOK: u64 = 1;
/// Seconds that a look goes back behind the last: an act writes its moment before it commits, and the clocks of nodes
/// differ.
const LOOK_BACK: u64 = 120;
/// Seconds after which everything is read anew: then lists that are gone are forgotten.
const LOOK_AT_ALL: u64 = 600;

/// What a node knows of status lists.
#[derive(Debug, Default)]
pub struct StatusLists {
    lease: Mutex<Option<Lease>>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    looked_at: Option<Timestamp>,
    looked_at_all: Option<Timestamp>,
    /// By the name in the address.
    lists: HashMap<String, KnownList>,
}

#[derive(Debug)]
struct KnownList {
    number: i64,
    bits: StatusList,
    signed: Option<Arc<SignedList>>,
}

impl KnownList {
    fn new(number: i64) -> Self {
        Self { number, bits: StatusList::default(), signed: None }
    }
}

/// A signed list.
#[derive(Debug)]
pub struct SignedList {
    /// The JWT.
    pub token: Bytes,
    /// Its entity tag.
    pub etag: String,
    kid: String,
    signed_at: Timestamp,
}

/// The name of a list in its address, which tells neither number nor order.
fn name(app: &App, list: i64) -> String {
    let tag = app.secrets.token_hash.hash_list(&[b"status list", &list.to_be_bytes()]);
    BASE64_URL_SAFE_NO_PAD.encode(tag.first_chunk::<16>().unwrap_or(&[0; 16]))
}

/// The address of a list.
pub fn address(app: &App, list: i64) -> String {
    app.settings.endpoint(&format!("{PATH}/{}", name(app, list)))
}

/// A place for a new token. One commit serves a thousand of them.
///
/// # Errors
/// Where the database fails.
pub async fn next_slot(app: &App) -> Result<Slot, Fault> {
    let now = app.clock.now();
    let mut held = app.status_lists.lease.lock().await;
    let lease = match *held {
        Some(lease) if lease.from < lease.to && now < lease.taken_at.plus_seconds(LEASE) => lease,
        _ => app.store.lease_status_block(now).await?,
    };
    *held = Some(Lease { from: lease.from + 1, ..lease });
    drop(held);
    let mix = |round: u8, half: u32| {
        let parts: [&[u8]; 4] =
            [b"status index", &lease.list.to_be_bytes(), std::slice::from_ref(&round), &half.to_be_bytes()];
        let tag = app.secrets.token_hash.hash_list(&parts);
        u32::from_be_bytes(*tag.first_chunk::<4>().unwrap_or(&[0; 4]))
    };
    Ok(Slot::new(lease.list, permuted(lease.from, mix)))
}

/// The place of one of our own tokens, whose signature was checked.
///
/// # Errors
/// Where the database fails.
pub async fn slot_of(app: &App, token: &AccessToken) -> Result<Option<Slot>, Fault> {
    let Some(reference) = &token.status else { return Ok(None) };
    let index = i64::try_from(reference.idx).map_err(Fault::broken)?;
    let lists = app.store.status_lists().await?;
    Ok(lists.into_iter().find(|list| address(app, *list) == reference.uri).map(|list| Slot::new(list, index)))
}

/// The signed list of this name, at most a second old.
///
/// # Errors
/// Where the database fails or the list can't be signed.
pub async fn signed(app: &App, name: &str) -> Result<Option<Arc<SignedList>>, Fault> {
    let now = app.clock.now();
    let mut known = app.status_lists.known.lock().await;
    look(app, &mut known, now).await?;
    let Some(list) = known.lists.get_mut(name) else { return Ok(None) };
    let key = issuer::active(app, app.access_token_algorithm())?;
    if let Some(signed) = list.signed.as_ref().filter(|it| it.kid == key.kid() && still_fresh(it.signed_at, now)) {
        return Ok(Some(Arc::clone(signed)));
    }
    let uri = address(app, list.number);
    let lst = list.bits.compressed();
    let aggregation = app.settings.endpoint(PATH);
    let claims = StatusListClaims::new(app.settings.issuer(), &uri, &aggregation, &lst, now);
    let token = Bytes::from(key.sign_jwt(TokenType::StatusList, &claims)?);
    let signed = Arc::new(SignedList { etag: etag(&token), token, kid: key.kid().to_owned(), signed_at: now });
    list.signed = Some(Arc::clone(&signed));
    Ok(Some(signed))
}

/// The addresses of all lists.
///
/// # Errors
/// Where the database fails.
pub async fn addresses(app: &App) -> Result<Vec<String>, Fault> {
    let mut known = app.status_lists.known.lock().await;
    look(app, &mut known, app.clock.now()).await?;
    let mut numbers: Vec<i64> = known.lists.values().map(|list| list.number).collect();
    drop(known);
    numbers.sort_unstable();
    Ok(numbers.into_iter().map(|number| address(app, number)).collect())
}

/// Asks the database, unless it was asked just now. Who waits for the lock finds it done.
async fn look(app: &App, known: &mut Known, now: Timestamp) -> Result<(), Fault> {
    if known.looked_at.is_some_and(|last| now < last.plus_seconds(LOOK)) {
        return Ok(());
    }
    let all = known.looked_at_all.is_none_or(|last| now >= last.plus_seconds(LOOK_AT_ALL));
    let since = known.looked_at.filter(|_| !all).map(|last| last.minus_seconds(LOOK_BACK));
    // The lists first: one that comes while the entries are read has none that matters yet.
    let numbers = app.store.status_lists().await?;
    let ended = app.store.ended_status_entries(since).await?;
    let mut earlier = std::mem::take(&mut known.lists);
    let mut by_number: HashMap<i64, KnownList> = HashMap::with_capacity(numbers.len());
    for number in numbers {
        // A bit that was set once stays.
        let list = earlier.remove(&name(app, number));
        by_number.insert(number, list.unwrap_or_else(|| KnownList::new(number)));
    }
    for slot in ended {
        if let Some(list) = by_number.get_mut(&slot.list())
            && list.bits.revoke(slot.index())
        {
            list.signed = None;
        }
    }
    known.lists = by_number.into_values().map(|list| (name(app, list.number), list)).collect();
    known.looked_at = Some(now);
    if all {
        known.looked_at_all = Some(now);
    }
    Ok(())
}
