//! The signing keys of a running server: making and sealing them, reading them into memory, and the schedule by which
//! they move. When a key moves is decided by `keyward_protocol::key_schedule`; the act is in `store/signing_key.rs`.

use std::sync::Arc;

use keyward_entities::signing_key;
use keyward_keys::{Algorithm, KeyRing, KeyState, SigningKey};
use keyward_protocol::Timestamp;
use keyward_protocol::key_schedule::{self, KeyMove, KeyRefusal, KeyWaits, ScheduledKey};
use keyward_protocol::status_list;
use zeroize::Zeroizing;

use crate::app::{App, PROPAGATION};
use crate::audit::{AuditEvent, AuditKind};
use crate::endpoint::jwks;
use crate::fault::Fault;
use crate::store::signing_key::{KeyChange, KeyChangeKind, KeyOutcome, KeyRule, scheduled};

/// Seconds between two looks at the schedule.
const LOOK_EVERY: u64 = 30;
/// How often a change is tried anew where others change keys at the same time.
const TRIES: usize = 5;

/// Who moves keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyActor {
    /// The schedule.
    Server,
    /// An operator.
    Cli,
    /// An operator, with a key that was made elsewhere.
    Import,
}

impl KeyActor {
    fn event(self, change: &KeyChange) -> AuditEvent {
        let kind = match change.kind {
            KeyChangeKind::Published if self == Self::Import => AuditKind::KeyImported,
            KeyChangeKind::Published | KeyChangeKind::Activated => AuditKind::KeyGenerated,
            KeyChangeKind::Promoted => AuditKind::KeyRotated,
            KeyChangeKind::Retired => AuditKind::KeyRetired,
            KeyChangeKind::Withdrawn => AuditKind::KeyWithdrawn,
            KeyChangeKind::Removed => AuditKind::KeyRemoved,
            KeyChangeKind::Revoked => AuditKind::KeyRevoked,
        };
        let event = match self {
            Self::Server => AuditEvent::by_server(kind),
            Self::Cli | Self::Import => AuditEvent::by_cli(kind),
        };
        event.detail("kid", &*change.kid).detail("algorithm", change.algorithm.as_str())
    }
}

impl App {
    /// The algorithms that the settings keep keys for.
    ///
    /// # Errors
    /// None that the settings let through.
    pub fn key_algorithms(&self) -> Result<Vec<Algorithm>, Fault> {
        self.settings.keys.algorithms.iter().map(|name| name.parse().map_err(Fault::broken)).collect()
    }

    /// What signs access tokens whose client asks for nothing else, and status lists: by the settings; and the first of
    /// `keys.algorithms` that has a key which signs, while the key of the other is published and waits.
    pub fn access_token_algorithm(&self) -> Algorithm {
        let ring = self.key_ring.load();
        if ring.active(self.wanted_access_token_algorithm).is_some() {
            return self.wanted_access_token_algorithm;
        }
        let named = self.settings.keys.algorithms.iter().filter_map(|name| name.parse().ok());
        let ready = named.into_iter().find(|algorithm| ring.active(*algorithm).is_some());
        ready.unwrap_or(self.wanted_access_token_algorithm)
    }

    /// How long each move of a key waits, by the settings; an act puts in the longest life that the database remembers.
    pub fn key_waits(&self) -> KeyWaits {
        let settings = &self.settings;
        let leeway = settings.tokens.clock_leeway.as_secs();
        let rotation = settings.keys.rotation_interval.as_secs();
        KeyWaits {
            // A client may have fetched the set just before the last node learned of the key, and keep it for its full
            // lifetime; until the key was committed, its publication had to wait for other writes; and clocks differ.
            publication: jwks::MAX_AGE + PROPAGATION + settings.database.busy_timeout.as_secs() + leeway,
            rotation: (rotation > 0).then_some(rotation),
            longest_life: self.longest_token_life(),
            // A node that hasn't heard, or a request that was running, signs by the old key for so much longer; and who
            // checks a token may grant it some leeway.
            margin: PROPAGATION + settings.server.request_timeout.as_secs() + leeway,
            hints: settings.sessions.absolute_timeout.as_secs(),
        }
    }

    /// The longest life, in seconds, that the settings give to anything that is signed. What clients have of their own
    /// is remembered by the database.
    pub fn longest_token_life(&self) -> u64 {
        let tokens = &self.settings.tokens;
        tokens.access_token_lifetime.max(tokens.id_token_lifetime).as_secs().max(status_list::LIFETIME)
    }

    /// Moves keys as the rule says, and makes the new ones that it asks for.
    ///
    /// # Errors
    /// Where the database fails or a key can't be made.
    pub async fn change_keys(
        &self,
        actor: KeyActor,
        rule: Arc<KeyRule>,
    ) -> Result<Result<Vec<KeyChange>, KeyRefusal>, Fault> {
        self.change_keys_with(actor, rule, Vec::new()).await
    }

    /// As [`App::change_keys`], where these keys are there to be added.
    ///
    /// # Errors
    /// As [`App::change_keys`].
    pub async fn change_keys_with(
        &self,
        actor: KeyActor,
        rule: Arc<KeyRule>,
        mut fresh: Vec<signing_key::Model>,
    ) -> Result<Result<Vec<KeyChange>, KeyRefusal>, Fault> {
        for _ in 0..TRIES {
            // A look without a lock first: mostly nothing is to be done, and keys are made before anything is locked.
            let keys = self.scheduled_keys().await?;
            let now = self.clock.now();
            let waits = self.remembered_waits().await?;
            let moves = match rule(&keys, &waits, now) {
                Ok(moves) if moves.is_empty() => return Ok(Ok(Vec::new())),
                Ok(moves) => moves,
                Err(refusal) => return Ok(Err(refusal)),
            };
            for algorithm in missing(&moves, &fresh) {
                fresh.push(self.new_signing_key(algorithm, None).await?);
            }
            let app = (self.clock.clone(), self.random);
            let event = Box::new(move |change: &KeyChange| {
                let now = app.0.now();
                Ok(actor.event(change).record(app.1.uuid_v7(now)?, now))
            });
            let now = self.clock.now();
            let outcome = self.store.change_signing_keys(Arc::clone(&rule), fresh.clone(), waits, now, event).await?;
            match outcome {
                KeyOutcome::Changed(changes) => return Ok(Ok(changes)),
                KeyOutcome::Refused(refusal) => return Ok(Err(refusal)),
                KeyOutcome::Short => {}
            }
        }
        Err(Fault::Overloaded("others change the signing keys again and again"))
    }

    /// Every stored key as the rules see it.
    ///
    /// # Errors
    /// Where the database fails or a row is damaged.
    pub async fn scheduled_keys(&self) -> Result<Vec<ScheduledKey>, Fault> {
        self.store.signing_keys().await?.iter().map(scheduled).collect()
    }

    /// The waits, with the longest life that the database remembers.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn remembered_waits(&self) -> Result<KeyWaits, Fault> {
        let waits = self.key_waits();
        Ok(KeyWaits { longest_life: self.store.raise_longest_token_life(waits.longest_life).await?, ..waits })
    }

    /// A new key, sealed; of `bits`, if it is an RSA key and they are named.
    ///
    /// # Errors
    /// Where the key can't be made.
    pub async fn new_signing_key(&self, algorithm: Algorithm, bits: Option<u32>) -> Result<signing_key::Model, Fault> {
        // An RSA key takes long to find.
        let make = move || match bits {
            Some(bits) => SigningKey::generate_rsa(algorithm, bits),
            None => SigningKey::generate(algorithm),
        };
        let (key, private) = tokio::task::spawn_blocking(make).await.map_err(Fault::broken)??;
        self.seal_signing_key(&key, &private)
    }

    /// The row of a key, which the act will put into its state.
    ///
    /// # Errors
    /// Where there is no chance to be had or the cryptographic library fails.
    pub fn seal_signing_key(&self, key: &SigningKey, pkcs8: &[u8]) -> Result<signing_key::Model, Fault> {
        let now = self.clock.now();
        let sealed = self
            .secrets
            .signing_key_sealing
            .seal(self.random.bytes()?, key.kid().as_bytes(), pkcs8)
            .map_err(Fault::broken)?;
        Ok(signing_key::Model {
            id: self.random.uuid_v7(now)?,
            kid: key.kid().to_owned(),
            algorithm: key.algorithm().as_str().to_owned(),
            state: KeyState::Next.as_str().to_owned(),
            sealed_private: sealed,
            created_at: now.micros(),
            activated_at: None,
            retired_at: None,
            thumbprint: Some(key.public().thumbprint()),
            archived_at: None,
            revoked_at: None,
        })
    }

    /// Makes what the server can't start without: a key that signs for each algorithm. The next ones come with them,
    /// but for RSA's, which take long to find and are left to the schedule.
    ///
    /// # Errors
    /// As [`App::change_keys`].
    pub async fn add_missing_keys(&self) -> Result<(), Fault> {
        let algorithms = self.key_algorithms()?;
        let rule = move |keys: &[ScheduledKey], waits: &KeyWaits, now: Timestamp| {
            // All else is the schedule's: a command that looks something up rotates no keys.
            let mut moves = key_schedule::due(keys, &algorithms, &KeyWaits { rotation: None, ..*waits }, now);
            moves.retain(|step| match step {
                KeyMove::Add { algorithm, state } => *state == KeyState::Active || !algorithm.is_rsa(),
                KeyMove::Promote { .. } => true,
                _ => false,
            });
            Ok(moves)
        };
        self.change_keys(KeyActor::Server, Arc::new(rule)).await?.map(drop).map_err(refused)
    }

    /// Reads the keys that may verify something.
    ///
    /// # Errors
    /// Where the database fails or a key can't be opened.
    pub(crate) async fn load_key_ring(&self) -> Result<KeyRing, Fault> {
        let mut keys = Vec::new();
        for row in self.store.signing_keys().await? {
            let state: KeyState = row.state.parse().map_err(Fault::broken)?;
            // A revoked key verifies nothing; its row stays so that it doesn't come back.
            if state == KeyState::Revoked {
                continue;
            }
            let algorithm: Algorithm = row.algorithm.parse().map_err(Fault::broken)?;
            let private = self
                .secrets
                .signing_key_sealing
                .open(row.kid.as_bytes(), &row.sealed_private)
                .map(Zeroizing::new)
                .map_err(|_| Fault::broken(format_args!("the signing key {} can't be opened", row.kid)))?;
            keys.push((SigningKey::from_pkcs8(&row.kid, algorithm, &private)?, state));
        }
        KeyRing::new(keys).map_err(Fault::broken)
    }

    /// Moves what is due, now.
    ///
    /// # Errors
    /// As [`App::change_keys`].
    pub async fn run_key_schedule(&self) -> Result<Vec<KeyChange>, Fault> {
        let algorithms = self.key_algorithms()?;
        let rule = move |keys: &[ScheduledKey], waits: &KeyWaits, now: Timestamp| {
            Ok(key_schedule::due(keys, &algorithms, waits, now))
        };
        let changes = self.change_keys(KeyActor::Server, Arc::new(rule)).await?.map_err(refused)?;
        if !changes.is_empty() {
            // This node needn't wait for its next look at the version.
            self.reload_if_changed().await?;
        }
        Ok(changes)
    }

    pub(crate) async fn follow_key_schedule(self: Arc<Self>) {
        loop {
            match self.run_key_schedule().await {
                Ok(changes) => {
                    for change in changes {
                        let (kid, algorithm) = (&change.kid, change.algorithm.as_str());
                        tracing::info!(key.id = %kid, key.algorithm = algorithm, "signing key {}", change.kind.as_str());
                    }
                }
                Err(fault) => tracing::warn!(error = %fault, "the signing keys' schedule could not be followed"),
            }
            self.clock.sleep_until(self.clock.now().plus_seconds(LOOK_EVERY)).await;
        }
    }
}

/// The algorithms of the new keys that are asked for beyond those that are there.
fn missing(moves: &[KeyMove], fresh: &[signing_key::Model]) -> Vec<Algorithm> {
    let mut there: Vec<&str> = fresh.iter().map(|key| key.algorithm.as_str()).collect();
    let mut missing = Vec::new();
    for step in moves {
        if let KeyMove::Add { algorithm, .. } = step {
            match there.iter().position(|name| *name == algorithm.as_str()) {
                Some(place) => {
                    there.swap_remove(place);
                }
                None => missing.push(*algorithm),
            }
        }
    }
    missing
}

/// The schedule asks for nothing that could be refused.
fn refused(refusal: KeyRefusal) -> Fault {
    Fault::broken(format_args!("the schedule of the signing keys was refused: {refusal:?}"))
}
