//! A master key in a file, which the server makes for a new installation: readable by its owner alone, whole or not at
//! all, and never in the place of one that is there.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use keyward_keys::MasterKey;
use zeroize::Zeroizing;

use crate::fault::Fault;
use crate::random::Random;

/// Reads a file with a master key; `None` where there is no such file.
///
/// # Errors
/// Where the file can't be read or holds no master key.
pub fn read_master_key(path: &Path) -> Result<Option<MasterKey>, Fault> {
    match fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) => {
            warn_if_readable(path);
            MasterKey::parse(text.trim())
                .map(Some)
                .map_err(|error| Fault::broken(format_args!("the master key file {}: {error}", path.display())))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Fault::broken(format_args!("the master key file {}: {error}", path.display()))),
    }
}

/// Makes a file with a new master key; gives the key of the file that is there, if another process was faster.
///
/// # Errors
/// Where the file can't be written.
pub fn make_master_key(path: &Path, random: Random) -> Result<MasterKey, Fault> {
    let master = MasterKey::generate()?;
    match write_new(path, &master, &random.name()?) {
        Ok(()) => Ok(master),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => read_master_key(path)?
            .ok_or_else(|| Fault::broken(format_args!("the master key file {} came and went", path.display()))),
        Err(error) => Err(Fault::broken(format_args!("the master key file {}: {error}", path.display()))),
    }
}

/// The file comes into being with all its octets, or not at all: a crash leaves no half key, and another process reads
/// none.
fn write_new(path: &Path, master: &MasterKey, unique: &str) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{unique}.new"));
    let unfinished = folder.join(name);
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(master.encode().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        // Unlike a rename, a link never replaces what is there.
        fs::hard_link(&unfinished, path)?;
        fs::File::open(folder)?.sync_all()
    };
    let written = write();
    let removed = fs::remove_file(&unfinished);
    written.and(removed)
}

fn warn_if_readable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if let Ok(metadata) = fs::metadata(path)
        && metadata.permissions().mode() & 0o077 != 0
    {
        tracing::warn!(path = %path.display(), "the master key file can be read by others than its owner; set its mode to 0600");
    }
}
