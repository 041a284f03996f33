//! `keyward keys import`: a private key that was made elsewhere becomes a next key.

use std::path::Path;
use std::sync::Arc;

use keyward_keys::Algorithm;
use keyward_protocol::Timestamp;
use keyward_protocol::key_schedule::{self, KeyWaits, ScheduledKey};

use super::super::output::{Failure, Report};
use super::super::terminal::secret_text;
use super::{explain, rotate};
use crate::app::App;
use crate::signing_keys::KeyActor;

pub(super) async fn run(
    app: &App,
    file: Option<&Path>,
    algorithm: Option<Algorithm>,
    kid: Option<String>,
) -> Result<Report, Failure> {
    let text = secret_text(file)?;
    let imported = keyward_keys::import::private_key(&text, algorithm, kid.as_deref()).map_err(Failure::refused)?;
    let row = app.seal_signing_key(&imported.key, &imported.pkcs8)?;
    let (kid, thumbprint) = (imported.key.kid().to_owned(), imported.key.public().thumbprint());
    let (algorithm, algorithms) = (imported.key.algorithm(), app.key_algorithms()?);
    let rule = move |keys: &[ScheduledKey], _: &KeyWaits, _: Timestamp| {
        key_schedule::import(keys, &kid, &thumbprint, algorithm, &algorithms)
    };
    let changes = app.change_keys_with(KeyActor::Import, Arc::new(rule), vec![row]).await?;
    rotate::report(app, &changes.map_err(|refusal| Failure::refused(explain(&refusal)))?)
}
