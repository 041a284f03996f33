//! What the server counts, in the text format of Prometheus (requirement AU-3; here the part that WB-5 and RL-3 ask for).
//!
//! Each server has counters of its own, and every label comes from a closed list: what a request brings never names one.
//! It leaves out who may read them: `serve` gives them an address apart from the public one.

use metrics::{Counter, Key, KeyName, Label, Level, Metadata, Recorder, SharedString};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use crate::http::refused::Refused;

const REFUSALS: &str = "keyward_refusals_total";
const SHED: &str = "keyward_shed_requests_total";

/// The counters of one server.
pub struct Metrics {
    recorder: PrometheusRecorder,
    shed: Counter,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Counters that stand at nothing.
    #[must_use]
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let describe = |name: &'static str, text: &'static str| {
            recorder.describe_counter(KeyName::from_const_str(name), None, SharedString::const_str(text));
        };
        describe(REFUSALS, "Requests that were refused, by error code and by the way of the answer");
        describe(SHED, "Requests that were refused because more came than can be served");
        let shed = counter(&recorder, Key::from_static_name(SHED));
        Self { recorder, shed }
    }

    /// Counts a refusal.
    pub fn refused(&self, refused: &Refused) {
        let labels = vec![
            Label::from_static_parts("error", refused.refusal.code.as_str()),
            Label::from_static_parts("door", refused.door.as_str()),
        ];
        counter(&self.recorder, Key::from_parts(REFUSALS, labels)).increment(1);
    }

    /// Counts a request that was shed.
    pub fn shed(&self) {
        self.shed.increment(1);
    }

    /// All of it as text.
    #[must_use]
    pub fn text(&self) -> String {
        self.recorder.handle().render()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn counter(recorder: &PrometheusRecorder, key: Key) -> Counter {
    recorder.register_counter(&key, &Metadata::new(module_path!(), Level::INFO, Some(module_path!())))
}
