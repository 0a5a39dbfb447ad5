//! What the models have done since the service started.

use alloc::vec::Vec;

use serde::Serialize;

use crate::inference::{MODEL_VERSION, Model};

/// Counts of one model.
#[derive(Clone, Copy, Debug, Default)]
pub struct ModelCounters {
    success: Tally,
    fail: Tally,
    /// When the last request came, in milliseconds since 1970.
    last_unix_ms: u64,
}

/// How many requests, and the time from their heads to their replies, all together.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Tally {
    count: u64,
    ns: u64,
}

/// The counts of all models.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters([ModelCounters; Model::ALL.len()]);

/// `GET /v2/models/stats`
#[derive(Debug, Serialize)]
pub struct Statistics {
    model_stats: Vec<ModelStatistics>,
}

#[derive(Debug, Serialize)]
struct ModelStatistics {
    name: &'static str,
    version: &'static str,
    last_inference: u64,
    inference_count: u64,
    /// Every product is computed by itself, so this is the same count.
    execution_count: u64,
    inference_stats: InferenceStatistics,
    batch_stats: [(); 0],
}

#[derive(Debug, Serialize)]
struct InferenceStatistics {
    success: Tally,
    fail: Tally,
}

impl ModelCounters {
    /// A request has been answered, `ns` after its head came.
    pub fn count(&mut self, is_success: bool, ns: u64, unix_ns: u64) {
        let tally = if is_success { &mut self.success } else { &mut self.fail };
        tally.count += 1;
        tally.ns = tally.ns.saturating_add(ns);
        self.last_unix_ms = unix_ns / 1_000_000;
    }
}

impl Counters {
    pub fn of(&mut self, model: Model) -> &mut ModelCounters {
        &mut self.0[model as usize]
    }

    /// What these models have done.
    pub fn statistics(&self, models: &[Model]) -> Statistics {
        let model_stats = models.iter().map(|&model| self.model(model)).collect();
        Statistics { model_stats }
    }

    fn model(&self, model: Model) -> ModelStatistics {
        let ModelCounters { success, fail, last_unix_ms } = self.0[model as usize];
        ModelStatistics {
            name: model.name(),
            version: MODEL_VERSION,
            last_inference: last_unix_ms,
            inference_count: success.count,
            execution_count: success.count,
            inference_stats: InferenceStatistics { success, fail },
            batch_stats: [],
        }
    }
}
