//! Follows the issuer's status lists (draft-ietf-oauth-status-list-18), so that a token revoked before its time is
//! refused within seconds, without a question for each request.
//!
//! A list is fetched when its first token comes and then again in the background, for as long as tokens name it. A check
//! is a look into a bit; it waits only for a list never asked for before, for one that wasn't refreshed for want of tokens
//! and whose copy is old by now, and for a token whose place the known copy doesn't have yet. A copy outlives its refreshes:
//! what was revoked stays so while the issuer is away. Left out: CWT, lists of other issuers, historical lists (§8.4).

mod list;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use reqwest::Url;
use tokio::sync::watch;
use tokio::time::Instant;

use self::list::{ListError, StatusList};
use crate::claims::StatusReference;
use crate::clock::{monotonic_now, wait};
use crate::discovery::IssuerKeys;
use crate::guard::Clock;
use crate::outbound::OutboundError;
use crate::refusal::TokenRefusal;
use crate::signed::{self, Kind};

/// An issuer that spreads its tokens over more lists than this has the least used forgotten, first of those that call no
/// token revoked.
const MAX_LISTS: usize = 256;

/// A list that no token named for so long isn't refreshed until the next one does.
const REST_AFTER: Duration = Duration::from_secs(900);

/// A copy is kept for at least so long after a token named it, and until the last of its tokens has expired.
const KEEP_FOR: Duration = Duration::from_secs(3600);

/// Where a list names no `ttl`.
const DEFAULT_TTL: Duration = Duration::from_secs(5);

/// No list is asked for more often, whatever its `ttl`, and no more often for an index that it doesn't have.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// A copy may be this many intervals old before it counts as unavailable: one answer may be lost or late.
const INTERVALS_UNTIL_STALE: u32 = 3;

/// The nodes of an issuer may disagree by so much about the time; a list that is older than the known copy by more is a
/// replay, which could make a revoked token good again. In seconds.
const OLDER_COPY_TOLERANCE: u64 = 60;

/// How status lists are followed; [`GuardBuilder::status_lists`](crate::GuardBuilder::status_lists) takes it.
///
/// A guard made by discovery follows lists unless it is told not to. A list is fetched only from the issuer's own
/// origin, never from wherever a token points.
#[derive(Debug, Clone)]
#[must_use]
pub struct StatusLists {
    unavailable: Unavailable,
    max_bytes: usize,
    refresh_every: Option<Duration>,
    other_origins: Vec<String>,
}

/// What becomes of a token whose list can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unavailable {
    Accept,
    Refuse,
}

impl Default for StatusLists {
    fn default() -> Self {
        Self::new()
    }
}

impl StatusLists {
    /// Refreshed by the list's `ttl`; lists of up to 4 MiB; a token is accepted while its list can't be had.
    pub fn new() -> Self {
        Self { unavailable: Unavailable::Accept, max_bytes: 4 << 20, refresh_every: None, other_origins: Vec::new() }
    }

    /// Refuses tokens with 503 while their list can't be had, for longer than three refreshes. Without this an issuer
    /// that is away stops nobody, and a token revoked meanwhile lives until it expires or the issuer is back.
    pub fn refuse_when_unavailable(mut self) -> Self {
        self.unavailable = Unavailable::Refuse;
        self
    }

    /// The most that a list may inflate to, in bytes: eight statuses of one bit in each.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Refreshes at this interval, at least 1 s, instead of at three fifths of the list's `ttl`.
    pub fn refresh_every(mut self, interval: Duration) -> Self {
        self.refresh_every = Some(interval);
        self
    }

    /// Also fetches lists from this origin (`https://lists.example.net`), for an issuer that publishes them elsewhere.
    /// The lists must still be signed by the issuer.
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.other_origins.push(origin.into());
        self
    }
}

/// All lists that a guard follows.
pub(crate) struct Follower {
    settings: StatusLists,
    keys: IssuerKeys,
    clock: Arc<Clock>,
    started: Instant,
    lists: ArcSwap<HashMap<String, Arc<Followed>>>,
    /// Held while `lists` is replaced.
    replacing: Mutex<()>,
    myself: Weak<Self>,
}

/// One list.
struct Followed {
    uri: String,
    url: Url,
    copy: ArcSwapOption<Copy>,
    /// When a token last named it, in milliseconds since the follower started.
    last_used: AtomicU64,
    /// The latest `exp` of the tokens that named it, in Unix seconds.
    needed_until: AtomicU64,
    /// Whether a task refreshes it.
    refreshed: AtomicBool,
    /// How often an attempt to fetch it has ended.
    attempts: watch::Sender<u64>,
    /// So many attempts must have ended before a missing or an old copy counts as unavailable.
    awaited: AtomicU64,
    /// Held while fetching; when the last attempt for an unknown index was made.
    fetching: tokio::sync::Mutex<Option<Instant>>,
}

/// What was fetched, and when.
struct Copy {
    list: Arc<StatusList>,
    etag: Option<String>,
    fetched: Instant,
    interval: Duration,
}

/// Why a list couldn't be fetched.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    #[error("the answer has status {0}")]
    Status(u16),
    #[error("the answer isn't text")]
    NoText,
    #[error("the status list token is refused: {0}")]
    Refused(TokenRefusal),
    #[error(transparent)]
    List(#[from] ListError),
    #[error("the list is older than the known copy")]
    Older,
}

/// What a copy says about an index.
enum Finding {
    Judged(Result<(), TokenRefusal>),
    /// No copy yet, or one that is too old to call a token valid.
    NoCopy,
    /// The copy ends before the index.
    OutOfRange,
}

impl Follower {
    pub(crate) fn new(settings: StatusLists, keys: IssuerKeys, clock: Arc<Clock>) -> Arc<Self> {
        Arc::new_cyclic(|myself| Self {
            settings,
            keys,
            clock,
            started: monotonic_now(),
            lists: ArcSwap::default(),
            replacing: Mutex::new(()),
            myself: myself.clone(),
        })
    }

    /// Whether the issuer still stands by a token, whose `exp` is `token_end`.
    pub(crate) async fn check(&self, reference: &StatusReference, token_end: u64) -> Result<(), TokenRefusal> {
        let followed = match self.lists.load().get(&reference.uri) {
            Some(known) => Arc::clone(known),
            None => self.follow(&reference.uri)?,
        };
        followed.last_used.store(self.elapsed(monotonic_now()), Ordering::Relaxed);
        if followed.needed_until.load(Ordering::Relaxed) < token_end {
            followed.needed_until.fetch_max(token_end, Ordering::Relaxed);
        }
        self.wake(&followed);
        match self.look(&followed, reference.idx) {
            Finding::Judged(judged) => return judged,
            // The first fetch is under way, in the list's own task, or the first after a rest.
            Finding::NoCopy => {
                let awaited = followed.awaited.load(Ordering::Acquire);
                // It may have gone to rest since.
                self.wake(&followed);
                followed.attempt(awaited).await;
            }
            // A token may be newer than the copy.
            Finding::OutOfRange => self.fetch_for_unknown_index(&followed).await,
        }
        match self.look(&followed, reference.idx) {
            Finding::Judged(judged) => judged,
            Finding::NoCopy => self.unavailable(),
            // §8.3: beyond the end of the list nothing can be said, and the token is refused.
            Finding::OutOfRange => Err(TokenRefusal::UnusableStatus),
        }
    }

    /// Sees to it that a task refreshes the list.
    fn wake(&self, followed: &Arc<Followed>) {
        if !followed.refreshed.load(Ordering::Acquire) && !followed.refreshed.swap(true, Ordering::AcqRel) {
            tokio::spawn(keep_fresh(self.myself.clone(), Arc::clone(followed)));
        }
    }

    fn look(&self, followed: &Followed, index: u64) -> Finding {
        let copy = followed.copy.load();
        let Some(copy) = copy.as_ref() else { return Finding::NoCopy };
        match copy.list.status(index) {
            None => Finding::OutOfRange,
            Some(0) => {
                let old = monotonic_now().saturating_duration_since(copy.fetched);
                let stale = old > copy.interval * INTERVALS_UNTIL_STALE
                    || copy.list.exp.is_some_and(|exp| (self.clock)() >= exp.saturating_add(OLDER_COPY_TOLERANCE));
                if stale { Finding::NoCopy } else { Finding::Judged(Ok(())) }
            }
            // §7.1: revoked, suspended, or a status of the issuer's own: whatever isn't valid is refused. A copy that is
            // old still knows what had been revoked.
            Some(_) => Finding::Judged(Err(TokenRefusal::Revoked)),
        }
    }

    fn unavailable(&self) -> Result<(), TokenRefusal> {
        match self.settings.unavailable {
            Unavailable::Accept => Ok(()),
            Unavailable::Refuse => Err(TokenRefusal::StatusUnavailable),
        }
    }

    fn elapsed(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    /// Begins to follow a list.
    fn follow(&self, uri: &str) -> Result<Arc<Followed>, TokenRefusal> {
        // No request is made to where a token points, but to the issuer alone (or to where the program says).
        let url = self.address(uri).ok_or_else(|| {
            tracing::warn!(issuer = %self.keys.issuer(), "a token names a status list outside of its issuer's origin");
            TokenRefusal::UnusableStatus
        })?;
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = self.lists.load().get(uri) {
            return Ok(Arc::clone(known));
        }
        let followed = Arc::new(Followed {
            uri: uri.to_owned(),
            url,
            copy: ArcSwapOption::empty(),
            last_used: AtomicU64::new(self.elapsed(monotonic_now())),
            needed_until: AtomicU64::new(0),
            refreshed: AtomicBool::new(true),
            attempts: watch::Sender::new(0),
            awaited: AtomicU64::new(1),
            fetching: tokio::sync::Mutex::new(None),
        });
        let mut lists = HashMap::clone(&self.lists.load());
        let (elapsed, now) = (self.elapsed(monotonic_now()), (self.clock)());
        lists.retain(|_, known| known.is_needed(elapsed, now));
        if lists.len() >= MAX_LISTS {
            // What was revoked is forgotten last: a list that can't be had again would make it good.
            let least_used = lists.values().min_by_key(|list| {
                let says_something = list.copy.load().as_ref().is_some_and(|copy| copy.list.says_something);
                (says_something, list.last_used.load(Ordering::Relaxed))
            });
            if let Some(uri) = least_used.map(|list| list.uri.clone()) {
                lists.remove(&uri);
            }
        }
        lists.insert(uri.to_owned(), Arc::clone(&followed));
        self.lists.store(Arc::new(lists));
        tokio::spawn(keep_fresh(self.myself.clone(), Arc::clone(&followed)));
        Ok(followed)
    }

    fn address(&self, uri: &str) -> Option<Url> {
        let url = Url::parse(uri).ok()?;
        let origin = url.origin();
        let is_of = |allowed: &str| Url::parse(allowed).is_ok_and(|allowed| allowed.origin() == origin);
        let allowed = is_of(self.keys.issuer()) || self.settings.other_origins.iter().any(|allowed| is_of(allowed));
        let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        (allowed && plain && self.keys.outbound().allows(&url)).then_some(url)
    }

    async fn fetch_for_unknown_index(&self, followed: &Followed) {
        let mut last = followed.fetching.lock().await;
        if last.is_none_or(|last| monotonic_now().saturating_duration_since(last) >= SHORTEST_INTERVAL) {
            self.fetch_and_note(followed, &mut last).await;
        }
    }

    async fn fetch_and_note(&self, followed: &Followed, last: &mut Option<Instant>) {
        *last = Some(monotonic_now());
        match self.fetch(followed).await {
            Ok(copy) => followed.copy.store(Some(Arc::new(copy))),
            Err(error) => tracing::warn!(uri = %followed.url, %error, "a status list can't be fetched; the copy stays"),
        }
        followed.attempts.send_modify(|attempts| *attempts += 1);
    }

    async fn fetch(&self, followed: &Followed) -> Result<Copy, Failure> {
        let known = followed.copy.load_full();
        let etag = known.as_ref().and_then(|copy| copy.etag.as_deref());
        // Base64 twice, compressed in between: what doesn't shrink grows to 16/9.
        let longest = self.settings.max_bytes.saturating_mul(2).saturating_add(16 * 1024);
        let fetched = monotonic_now();
        let reply = self.keys.outbound().get(&followed.url, "application/statuslist+jwt", etag, longest).await?;
        match (reply.status, known) {
            (304, Some(known)) => Ok(Copy {
                list: Arc::clone(&known.list),
                etag: reply.etag.or_else(|| known.etag.clone()),
                fetched,
                interval: known.interval,
            }),
            (200, known) => {
                let token = String::from_utf8(reply.body).map_err(|_| Failure::NoText)?;
                let opened = self.keys.judge(|keys| signed::open(keys, token.trim_end(), Kind::STATUS_LIST)).await;
                let (payload, _) = opened.map_err(Failure::Refused)?;
                let issuer = self.keys.issuer();
                let list = StatusList::read(&payload, &followed.uri, issuer, (self.clock)(), self.settings.max_bytes)?;
                if known.is_some_and(|known| list.iat.saturating_add(OLDER_COPY_TOLERANCE) < known.list.iat) {
                    return Err(Failure::Older);
                }
                let interval = self.interval(list.ttl);
                Ok(Copy { list: Arc::new(list), etag: reply.etag, fetched, interval })
            }
            (status, _) => Err(Failure::Status(status)),
        }
    }

    /// §13.7: a copy is good for `ttl`. Less than that, so that a revocation is known here within `ttl` though the issuer
    /// needs a second or so to publish it.
    fn interval(&self, ttl: Option<u64>) -> Duration {
        let wanted = self.settings.refresh_every.unwrap_or_else(|| {
            let ttl = ttl.map_or(DEFAULT_TTL, |seconds| Duration::from_secs(seconds.min(3600)));
            ttl * 3 / 5
        });
        wanted.max(SHORTEST_INTERVAL)
    }

    /// Whether a list is still to be refreshed: it is known, and was named of late.
    fn still_refreshes(&self, followed: &Arc<Followed>) -> bool {
        let unused = followed.unused(self.elapsed(monotonic_now()));
        unused < REST_AFTER && self.lists.load().get(&followed.uri).is_some_and(|known| Arc::ptr_eq(known, followed))
    }
}

impl Followed {
    /// Waits until so many attempts have ended, well or badly.
    async fn attempt(&self, awaited: u64) {
        // An error would say that the sender is gone, which is this list itself.
        drop(self.attempts.subscribe().wait_for(|attempts| *attempts >= awaited).await);
    }

    /// How long no token named it, `elapsed` milliseconds after the follower started.
    fn unused(&self, elapsed: u64) -> Duration {
        Duration::from_millis(elapsed.saturating_sub(self.last_used.load(Ordering::Relaxed)))
    }

    /// Whether a token that may still be good may name it; `now` in Unix seconds.
    fn is_needed(&self, elapsed: u64, now: u64) -> bool {
        self.unused(elapsed) < KEEP_FOR || now < self.needed_until.load(Ordering::Relaxed)
    }

    /// The task that refreshes it ends. The copy stays; the next token's check begins another task, and waits for its
    /// first attempt if the copy is old by then.
    fn rest(&self) {
        let next = self.attempts.borrow().saturating_add(1);
        // In this order: who sees that an attempt is awaited also sees that a task may have to be begun.
        self.refreshed.store(false, Ordering::Release);
        self.awaited.store(next, Ordering::Release);
    }
}

/// Refreshes one list until nobody names it, it is forgotten, or the guard is gone.
async fn keep_fresh(follower: Weak<Follower>, followed: Arc<Followed>) {
    let mut rounds = 0_u64;
    loop {
        let pause = {
            let Some(follower) = follower.upgrade() else { return };
            // The first attempt is made in any case: somebody waits for it.
            if rounds > 0 && !follower.still_refreshes(&followed) {
                return followed.rest();
            }
            rounds += 1;
            let mut last = followed.fetching.lock().await;
            follower.fetch_and_note(&followed, &mut last).await;
            followed.copy.load().as_ref().map_or_else(|| follower.interval(None), |copy| copy.interval)
        };
        wait(pause).await;
    }
}
