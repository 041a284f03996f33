//! `[passwords]`: what a hash costs, and what may be chosen.

use crate::settings::live::keep;
use crate::settings::setting::Setting;

use super::integer;

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        "passwords.argon2_memory_kib",
        "19456",
        integer(8, 4_194_304, |s, v| s.passwords.argon2_memory_kib = v),
        "Memory of one Argon2id hash, in KiB. A password is hashed anew at the next login after a change.",
    )
    .fixed(|fresh, running| keep(&mut fresh.passwords.argon2_memory_kib, &running.passwords.argon2_memory_kib))
    .weak(
        |s| !s.hashing_is_strong(),
        "with passwords.argon2_iterations this is less than OWASP advises (19456 KiB with 2 iterations, or as much)",
    ),
    Setting::new(
        "passwords.argon2_iterations",
        "2",
        integer(1, 100, |s, v| s.passwords.argon2_iterations = v),
        "Passes of one Argon2id hash over its memory.",
    )
    .fixed(|fresh, running| keep(&mut fresh.passwords.argon2_iterations, &running.passwords.argon2_iterations)),
    Setting::new(
        "passwords.argon2_parallelism",
        "1",
        integer(1, 64, |s, v| s.passwords.argon2_parallelism = v),
        "Lanes of one Argon2id hash.",
    )
    .fixed(|fresh, running| keep(&mut fresh.passwords.argon2_parallelism, &running.passwords.argon2_parallelism)),
    Setting::new(
        "passwords.hashing_threads",
        "0",
        integer(0, 1024, |s, v| s.passwords.hashing_threads = v as usize),
        "Threads that hash passwords, so that a flood of logins starves nothing else; 0 means one for each core.",
    )
    .fixed(|fresh, running| keep(&mut fresh.passwords.hashing_threads, &running.passwords.hashing_threads)),
    Setting::new(
        "passwords.hashing_queue",
        "64",
        integer(1, 100_000, |s, v| s.passwords.hashing_queue = v as usize),
        "Hashes that may wait for a thread; further logins are answered 503 until there is room.",
    )
    .fixed(|fresh, running| keep(&mut fresh.passwords.hashing_queue, &running.passwords.hashing_queue)),
    Setting::new(
        "passwords.min_length",
        "8",
        integer(1, 128, |s, v| s.passwords.min_length = v as usize),
        "Shortest password that may be chosen, in characters.",
    )
    .weak(|s| s.passwords.min_length < 8, "passwords shorter than 8 characters are guessed quickly (NIST SP 800-63B)"),
    Setting::new(
        "passwords.max_bytes",
        "4096",
        // 128 characters of four bytes each, the longest `min_length`, still fit.
        integer(512, 4096, |s, v| s.passwords.max_bytes = v as usize),
        "Longest password, in bytes.",
    ),
];
