//! `[metrics]`: the listener for Prometheus.

use crate::settings::live::keep;
use crate::settings::setting::{Kind, Setting};

use super::{OPTIONAL_ADDRESS, address, optional};

pub(super) const SETTINGS: &[Setting] = &[Setting::new(
    "metrics.listen",
    r#""""#,
    Kind::Text {
        what: OPTIONAL_ADDRESS,
        put: |s, v| {
            s.metrics.listen = optional(v, address)?;
            Ok(())
        },
    },
    "Address and port of a listener that answers GET /metrics in the text format of Prometheus, by plain HTTP and to \
         anybody who reaches it. Example: \"127.0.0.1:9464\".",
)
.fixed(|fresh, running| keep(&mut fresh.metrics.listen, &running.metrics.listen))
.weak(
    |s| s.metrics.listen.is_some_and(|address| !address.ip().is_loopback()),
    "whoever reaches this address reads what the server counts; let a firewall guard it",
)];
