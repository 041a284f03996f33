//! `[audit]`: the writer of the trail.

use crate::settings::live::keep;
use crate::settings::setting::Setting;

use super::integer;

pub(super) const SETTINGS: &[Setting] = &[Setting::new(
    "audit.queue",
    "4096",
    integer(1, 1_000_000, |s, v| s.audit.queue = v as usize),
    "Refusals and failures that may wait for the writer of the audit trail; a full queue slows the caller. A \
         crash may lose those that wait.",
)
.fixed(|fresh, running| keep(&mut fresh.audit.queue, &running.audit.queue))];
