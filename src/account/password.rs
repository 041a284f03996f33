//! Passwords: Argon2id on a bounded pool of threads of its own, so that a flood of logins starves nothing else.
//!
//! Each check takes one hash, whether the user exists or not (requirement AC-4). A full queue is answered at once by
//! [`Fault::Overloaded`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::oneshot;

use crate::fault::Fault;
use crate::settings::PasswordSettings;

/// A thread that has had nothing to do for so long gives its memory back.
const KEEPS_MEMORY: Duration = Duration::from_secs(2);

/// Largest cost that a stored hash may ask for, in KiB: a damaged or planted row can't take the machine down.
const MOST_MEMORY_KIB: u32 = 1024 * 1024;

/// The threads that hash, and the parameters of new hashes.
#[derive(Debug)]
pub struct PasswordPool {
    jobs: SyncSender<Job>,
    params: Params,
    /// How many hashes were computed.
    computed: Arc<AtomicU64>,
    /// The hash of no password, which stands in for the one of a user who doesn't exist.
    decoy: String,
}

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordCheck {
    /// It is the password.
    Right {
        /// The same password under the parameters of today, where the stored hash has others.
        rehashed: Option<String>,
    },
    /// It isn't, or there is none.
    Wrong,
}

type Job = Box<dyn FnOnce(&mut Memory<'_>) + Send>;

/// What a thread computes in, and where it counts.
struct Memory<'c> {
    blocks: Vec<Block>,
    computed: &'c AtomicU64,
}

impl PasswordPool {
    /// Starts the threads.
    ///
    /// # Errors
    /// Where the parameters are impossible or a thread can't be started.
    pub fn start(settings: &PasswordSettings, salt: [u8; 16]) -> Result<Self, Fault> {
        let params = Params::new(
            settings.argon2_memory_kib,
            settings.argon2_iterations,
            settings.argon2_parallelism,
            Some(Params::DEFAULT_OUTPUT_LEN),
        )
        .map_err(Fault::broken)?;
        let (jobs, waiting) = sync_channel(settings.hashing_queue.max(1));
        let waiting = Arc::new(Mutex::new(waiting));
        let threads = match settings.hashing_threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads,
        };
        let computed = Arc::new(AtomicU64::new(0));
        for number in 0..threads {
            let (waiting, computed) = (Arc::clone(&waiting), Arc::clone(&computed));
            std::thread::Builder::new()
                .name(format!("password-{number}"))
                .spawn(move || work(&waiting, &computed))
                .map_err(Fault::broken)?;
        }
        // The decoy needs no real hash behind it: its digest is compared and never equal.
        let decoy = format_hash(&params, &salt, &[0; Params::DEFAULT_OUTPUT_LEN])?;
        Ok(Self { jobs, params, computed, decoy })
    }

    /// How many hashes were computed since it was started.
    pub fn computed(&self) -> u64 {
        self.computed.load(Ordering::Relaxed)
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// [`Fault::Overloaded`] where too many wait.
    pub async fn hash(&self, password: SecretString, salt: [u8; 16]) -> Result<String, Fault> {
        let params = self.params.clone();
        self.run(move |memory| {
            let mut digest = [0; Params::DEFAULT_OUTPUT_LEN];
            derive(&params, password.expose_secret(), &salt, &mut digest, memory)?;
            format_hash(&params, &salt, &digest)
        })
        .await
    }

    /// Checks a password against the stored hash, or against the decoy where there is none: one hash either way.
    ///
    /// # Errors
    /// [`Fault::Overloaded`] where too many wait; a fault where the stored hash is damaged.
    pub async fn check(
        &self,
        password: SecretString,
        stored: Option<String>,
        salt: [u8; 16],
    ) -> Result<PasswordCheck, Fault> {
        let current = self.params.clone();
        let exists = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.decoy.clone());
        self.run(move |memory| {
            let hash = PasswordHash::new(&stored).map_err(|_| Fault::broken("a stored password hash is damaged"))?;
            let params = Params::try_from(&hash).map_err(|_| Fault::broken("a stored password hash is damaged"))?;
            let (Some(used_salt), Some(expected)) = (&hash.salt, &hash.hash) else {
                return Err(Fault::broken("a stored password hash is damaged"));
            };
            if params.m_cost() > MOST_MEMORY_KIB {
                return Err(Fault::broken("a stored password hash asks for too much memory"));
            }
            let mut digest = vec![0; expected.as_bytes().len()];
            derive(&params, password.expose_secret(), used_salt, &mut digest, memory)?;
            let equal: bool = subtle::ConstantTimeEq::ct_eq(digest.as_slice(), expected.as_bytes()).into();
            if !equal || !exists {
                return Ok(PasswordCheck::Wrong);
            }
            let today = params.m_cost() == current.m_cost()
                && params.t_cost() == current.t_cost()
                && params.p_cost() == current.p_cost();
            let rehashed = if today {
                None
            } else {
                let mut digest = [0; Params::DEFAULT_OUTPUT_LEN];
                derive(&current, password.expose_secret(), &salt, &mut digest, memory)?;
                Some(format_hash(&current, &salt, &digest)?)
            };
            Ok(PasswordCheck::Right { rehashed })
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |memory| {
            // A caller that went away doesn't want the answer.
            let _ = sender.send(work(memory));
        });
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => Fault::Overloaded("too many passwords wait to be hashed"),
            TrySendError::Disconnected(_) => Fault::broken("the password threads have stopped"),
        })?;
        receiver.await.map_err(|_| Fault::broken("a password thread has stopped"))?
    }
}

fn work(waiting: &Mutex<Receiver<Job>>, computed: &AtomicU64) {
    let mut memory = Memory { blocks: Vec::new(), computed };
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(KEEPS_MEMORY);
        match job {
            Ok(job) => job(&mut memory),
            Err(RecvTimeoutError::Timeout) => memory.blocks = Vec::new(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn derive(
    params: &Params,
    password: &str,
    salt: &[u8],
    digest: &mut [u8],
    memory: &mut Memory<'_>,
) -> Result<(), Fault> {
    memory.computed.fetch_add(1, Ordering::Relaxed);
    let params = Params::new(params.m_cost(), params.t_cost(), params.p_cost(), Some(digest.len()))
        .map_err(|_| Fault::broken("a stored password hash has impossible parameters"))?;
    memory.blocks.resize(params.block_count(), Block::default());
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password.as_bytes(), salt, digest, memory.blocks.as_mut_slice())
        .map_err(Fault::broken)
}

fn format_hash(params: &Params, salt: &[u8], digest: &[u8]) -> Result<String, Fault> {
    use argon2::password_hash::phc::{Output, ParamsString, Salt};
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params).map_err(Fault::broken)?,
        salt: Some(Salt::new(salt).map_err(Fault::broken)?),
        hash: Some(Output::new(digest).map_err(Fault::broken)?),
    };
    Ok(hash.to_string())
}

/// What is wrong with a chosen password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordProblem {
    /// Fewer characters than the setting asks for.
    TooShort,
    /// More bytes than the setting allows.
    TooLong,
    /// It is the user name.
    SameAsName,
}

/// Requirement AC-2, the part that is always on: whether a password may be chosen.
pub fn judge(settings: &PasswordSettings, password: &str, login_key: &str) -> Option<PasswordProblem> {
    if password.len() > settings.max_bytes {
        Some(PasswordProblem::TooLong)
    } else if password.chars().count() < settings.min_length {
        Some(PasswordProblem::TooShort)
    } else if super::login_name::login_key(password).as_deref() == Some(login_key) {
        Some(PasswordProblem::SameAsName)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn light() -> PasswordSettings {
        let mut settings = Settings::default().passwords;
        (settings.argon2_memory_kib, settings.argon2_iterations, settings.hashing_threads) = (64, 1, 1);
        settings
    }

    #[tokio::test]
    async fn a_password_fits_its_hash_and_no_other() {
        let pool = PasswordPool::start(&light(), [1; 16]).unwrap();
        let hash = pool.hash("correct horse".into(), [2; 16]).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
        let right = pool.check("correct horse".into(), Some(hash.clone()), [3; 16]).await.unwrap();
        assert_eq!(right, PasswordCheck::Right { rehashed: None });
        assert_eq!(pool.check("Correct horse".into(), Some(hash), [3; 16]).await.unwrap(), PasswordCheck::Wrong);
        assert_eq!(pool.check("".into(), None, [3; 16]).await.unwrap(), PasswordCheck::Wrong);
    }

    #[tokio::test]
    async fn a_hash_of_other_parameters_is_renewed() {
        let pool = PasswordPool::start(&light(), [1; 16]).unwrap();
        let hash = pool.hash("correct horse".into(), [2; 16]).await.unwrap();
        let heavier = PasswordSettings { argon2_iterations: 2, ..light() };
        let pool = PasswordPool::start(&heavier, [1; 16]).unwrap();
        let checked = pool.check("correct horse".into(), Some(hash), [3; 16]).await.unwrap();
        let PasswordCheck::Right { rehashed: Some(rehashed) } = checked else { panic!("{checked:?}") };
        assert!(rehashed.contains("t=2"));
        let again = pool.check("correct horse".into(), Some(rehashed), [4; 16]).await.unwrap();
        assert_eq!(again, PasswordCheck::Right { rehashed: None });
    }

    #[tokio::test]
    async fn a_flood_is_refused_and_not_queued_without_end() {
        let settings = PasswordSettings { hashing_queue: 1, argon2_memory_kib: 8192, ..light() };
        let pool = PasswordPool::start(&settings, [1; 16]).unwrap();
        let checks = (0..20).map(|_| pool.check("x".into(), None, [2; 16]));
        let outcomes = futures_util::future::join_all(checks).await;
        assert!(outcomes.iter().any(|outcome| matches!(outcome, Err(Fault::Overloaded(_)))));
        assert!(outcomes.iter().any(Result::is_ok));
    }

    #[test]
    fn chosen_passwords_are_judged() {
        let settings = Settings::default().passwords;
        assert_eq!(judge(&settings, "short", "ada"), Some(PasswordProblem::TooShort));
        assert_eq!(judge(&settings, &"x".repeat(4097), "ada"), Some(PasswordProblem::TooLong));
        assert_eq!(judge(&settings, "Ada-Lovelace", "ada-lovelace"), Some(PasswordProblem::SameAsName));
        assert_eq!(judge(&settings, "correct horse", "ada"), None);
    }
}
