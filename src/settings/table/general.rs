//! What stands outside of all sections: the public URL, the environment, the folder.

use crate::settings::Environment;
use crate::settings::live::keep;
use crate::settings::setting::{Kind, Setting};

use super::path;

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        "public_url",
        r#""http://localhost:4000""#,
        Kind::Text {
            what: "a URL",
            put: |s, v| {
                s.public_url = v.parse()?;
                Ok(())
            },
        },
        "The URL under which browsers and clients reach the server. It is the issuer, byte for byte: clients compare it, \
         so choose it once. https, without a trailing slash; a path is possible. http is for localhost only.",
    )
    .fixed(|fresh, running| keep(&mut fresh.public_url, &running.public_url)),
    Setting::new(
        "environment",
        r#""production""#,
        Kind::Choice {
            among: &["production", "development"],
            put: |s, v| {
                s.environment = if v == "development" { Environment::Development } else { Environment::Production };
            },
        },
        "Whether real users depend on this server. Only in development is a file `.env` in the working folder read.",
    )
    .fixed(|fresh, running| keep(&mut fresh.environment, &running.environment))
    .weak(|s| s.environment == Environment::Development, "settings for a developer's machine; not for real users"),
    Setting::new(
        "data_dir",
        r#""./keyward-data""#,
        Kind::Text {
            what: "the path of a folder",
            put: |s, v| {
                s.data_dir = path(v)?;
                Ok(())
            },
        },
        "Folder for what the server keeps on disk. A relative path counts from the folder the server is started in.",
    )
    .fixed(|fresh, running| keep(&mut fresh.data_dir, &running.data_dir)),
];
