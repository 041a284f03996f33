//! The static files of the pages, embedded in the binary, and the one script that a page may run.
//!
//! A file's URL holds a part of its content's SHA-256, so that browsers may keep it for ever and still see a change at
//! once. The handler that serves them sets the caching headers. This file leaves out whatever an operator puts in their
//! place.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A file to be served.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// The content.
    pub bytes: &'static [u8],
    /// The value of `Content-Type`.
    pub content_type: &'static str,
}

/// Submits the page's form (OAuth 2.0 Form Post Response Mode §2). It reaches for the prototype's method, so that no field
/// named `submit` can stand in its way.
pub const FORM_POST_SCRIPT: &str = "HTMLFormElement.prototype.submit.call(document.forms[0]);";

struct Embedded {
    name: &'static str,
    url: String,
    asset: Asset,
}

static EMBEDDED: LazyLock<[Embedded; 3]> = LazyLock::new(|| {
    [
        embed("keyward.css", include_bytes!("../assets/keyward.css"), "text/css; charset=utf-8"),
        embed("logo.svg", include_bytes!("../assets/logo.svg"), "image/svg+xml"),
        embed("favicon.svg", include_bytes!("../assets/favicon.svg"), "image/svg+xml"),
    ]
});

static FORM_POST_SCRIPT_CSP_HASH: LazyLock<String> =
    LazyLock::new(|| format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, FORM_POST_SCRIPT.as_bytes()))));

fn embed(name: &'static str, bytes: &'static [u8], content_type: &'static str) -> Embedded {
    let hash = digest(&SHA256, bytes);
    let hash: String = hash.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, "bin"));
    Embedded { name, url: format!("/assets/{stem}.{hash}.{extension}"), asset: Asset { bytes, content_type } }
}

/// The file at a request's path (without the issuer's own path), such as `/assets/keyward.0123456789ab.css`. A path with
/// an old hash finds nothing.
pub fn find(path: &str) -> Option<Asset> {
    EMBEDDED.iter().find(|embedded| embedded.url == path).map(|embedded| embedded.asset)
}

/// The path of the file with this name, such as `keyward.css`; the issuer's own path goes before it. A name that doesn't
/// exist gives a path that finds nothing.
pub fn url(name: &str) -> &'static str {
    EMBEDDED.iter().find(|embedded| embedded.name == name).map_or("/assets/", |embedded| embedded.url.as_str())
}

/// The source expression that allows [`FORM_POST_SCRIPT`] in `script-src` (CSP Level 3 §2.3.1).
pub fn form_post_script_csp_hash() -> &'static str {
    FORM_POST_SCRIPT_CSP_HASH.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_finds_its_file_and_an_old_one_nothing() {
        for (name, content_type) in [
            ("keyward.css", "text/css; charset=utf-8"),
            ("logo.svg", "image/svg+xml"),
            ("favicon.svg", "image/svg+xml"),
        ] {
            let asset = find(url(name)).unwrap();
            assert_eq!(asset.content_type, content_type);
            assert!(!asset.bytes.is_empty());
        }
        let style = url("keyward.css");
        let hash = style.strip_prefix("/assets/keyward.").unwrap().strip_suffix(".css").unwrap();
        assert!(hash.len() == 12 && hash.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()));
        for path in ["", "/assets/", "/assets/keyward.css", "/assets/keyward.000000000000.css", "/assets/../Cargo.toml"]
        {
            assert!(find(path).is_none(), "{path}");
        }
        assert!(find(url("no-such-file")).is_none());
    }

    #[test]
    fn the_csp_hash_is_the_scripts() {
        // Counted by another program: printf %s "$script" | openssl dgst -sha256 -binary | base64
        assert_eq!(form_post_script_csp_hash(), "'sha256-Zd9Ppkm6KJvfEle1ogzptKkD+DOonO1DYBPhi02doj8='");
        // The page writes the script unescaped.
        assert!(!FORM_POST_SCRIPT.contains(['<', '>', '&', '\n']));
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        for embedded in EMBEDDED.iter() {
            let text = std::str::from_utf8(embedded.asset.bytes).unwrap().replace("http://www.w3.org/2000/svg", "");
            for outside in ["http:", "https:", "url(", "@import", "<script", "<style", "style="] {
                assert!(!text.contains(outside), "{} has {outside}", embedded.name);
            }
        }
    }
}
