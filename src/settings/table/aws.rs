//! `[aws]`: AWS Secrets Manager, where the master key may be kept.

use crate::settings::live::keep;
use crate::settings::secret_store::service_url;
use crate::settings::setting::{Kind, Setting};

use super::optional;

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        "aws.region",
        r#""""#,
        Kind::Text {
            what: "a region, or \"\" for none",
            put: |s, v| {
                s.aws.region = optional(v, |v| Ok(v.to_owned()))?;
                Ok(())
            },
        },
        "The region of AWS Secrets Manager; else that of the secret's ARN, else what the environment, the profile or the \
         machine says. Credentials come from there too, and never from these settings.",
    )
    .fixed(|fresh, running| keep(&mut fresh.aws.region, &running.aws.region)),
    Setting::new(
        "aws.endpoint_url",
        r#""""#,
        Kind::Text {
            what: "a URL, or \"\" for none",
            put: |s, v| {
                s.aws.endpoint_url = optional(v, service_url)?;
                Ok(())
            },
        },
        "Another address of AWS Secrets Manager than the region's, such as that of an endpoint in one's own network: https, \
         but for one on this machine.",
    )
    .fixed(|fresh, running| keep(&mut fresh.aws.endpoint_url, &running.aws.endpoint_url)),
];
