//! `[vault]`: HashiCorp Vault or OpenBao, where the master key may be kept.

use crate::settings::live::{keep, keep_secret};
use crate::settings::secret_store::{path as mount, service_url};
use crate::settings::setting::{Kind, Setting};

use super::{OPTIONAL_PATH, header_text, optional, path};

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        "vault.address",
        r#""""#,
        Kind::Text {
            what: "a URL, or \"\" for none",
            put: |s, v| {
                s.vault.address = optional(v, service_url)?;
                Ok(())
            },
        },
        "The URL of HashiCorp Vault or OpenBao: https, but for one on this machine. It must lead to the active node by \
         itself, for no redirect is followed. Example: \"https://vault.example.com:8200\".",
    )
    .fixed(|fresh, running| keep(&mut fresh.vault.address, &running.vault.address)),
    Setting::new(
        "vault.namespace",
        r#""""#,
        Kind::Text {
            what: "a namespace, or \"\" for none",
            put: |s, v| {
                s.vault.namespace = optional(v, mount)?;
                Ok(())
            },
        },
        "The namespace of Vault that the server's secrets and AppRole are in.",
    )
    .fixed(|fresh, running| keep(&mut fresh.vault.namespace, &running.vault.namespace)),
    Setting::new(
        "vault.mount",
        r#""secret""#,
        Kind::Text {
            what: "the path of a mount",
            put: |s, v| {
                s.vault.mount = mount(v)?;
                Ok(())
            },
        },
        "Where Vault's secrets engine KV, version 2, is mounted.",
    )
    .fixed(|fresh, running| keep(&mut fresh.vault.mount, &running.vault.mount)),
    Setting::new(
        "vault.token",
        r#""""#,
        Kind::Text {
            what: "a token, or \"\" for none",
            put: |s, v| {
                s.vault.token = optional(v, header_text)?;
                Ok(())
            },
        },
        "The token that opens Vault, unless vault.role_id is set. An agent of Vault that keeps one in a file is served by the \
         variable that names a file.",
    )
    .secret()
    .fixed(|fresh, running| keep_secret(&mut fresh.vault.token, &running.vault.token)),
    Setting::new(
        "vault.role_id",
        r#""""#,
        Kind::Text {
            what: "a role id, or \"\" for none",
            put: |s, v| {
                s.vault.role_id = optional(v, |v| Ok(v.to_owned()))?;
                Ok(())
            },
        },
        "The role id of AppRole by which the server signs in to Vault, in place of vault.token.",
    )
    .fixed(|fresh, running| keep(&mut fresh.vault.role_id, &running.vault.role_id)),
    Setting::new(
        "vault.secret_id",
        r#""""#,
        Kind::Text {
            what: "a secret id, or \"\" for none",
            put: |s, v| {
                s.vault.secret_id = optional(v, header_text)?;
                Ok(())
            },
        },
        "The secret id of that role; \"\" for a role that needs none.",
    )
    .secret()
    .fixed(|fresh, running| keep_secret(&mut fresh.vault.secret_id, &running.vault.secret_id)),
    Setting::new(
        "vault.approle_mount",
        r#""approle""#,
        Kind::Text {
            what: "the path of a mount",
            put: |s, v| {
                s.vault.approle_mount = mount(v)?;
                Ok(())
            },
        },
        "Where AppRole is mounted below auth/.",
    )
    .fixed(|fresh, running| keep(&mut fresh.vault.approle_mount, &running.vault.approle_mount)),
    Setting::new(
        "vault.ca_file",
        r#""""#,
        Kind::Text {
            what: OPTIONAL_PATH,
            put: |s, v| {
                s.vault.ca_file = optional(v, path)?;
                Ok(())
            },
        },
        "PEM file with certificate authorities that are trusted beside the system's, for Vault alone.",
    )
    .fixed(|fresh, running| keep(&mut fresh.vault.ca_file, &running.vault.ca_file)),
];
