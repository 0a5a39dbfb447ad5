//! Replies under `/v2` that need no job.

use crate::api::to_json;
use crate::http::Response;
use crate::inference::{Call, Model, describe};
use crate::problem::Problem;
use crate::server::{Server, replies};

impl Server {
    pub(super) fn reply_inference(&self, call: Call) -> Result<Response, Problem> {
        let body = match call {
            Call::Server => to_json(&describe::server()),
            Call::Live => to_json(&describe::Live { live: true }),
            Call::Ready | Call::ModelReady(_) if self.is_draining() => {
                return Err(replies::draining());
            }
            Call::Ready => to_json(&describe::Ready { ready: true }),
            Call::ModelReady(model) => {
                to_json(&describe::ModelReady { name: model.name(), ready: true })
            }
            Call::Index => to_json(&describe::index(self.is_draining())),
            Call::AllStats => to_json(&self.inference.statistics(&Model::ALL)),
            Call::Model(model) => to_json(&describe::metadata(model)),
            Call::ModelConfig(model) => to_json(&describe::config(model)),
            Call::ModelStats(model) => to_json(&self.inference.statistics(&[model])),
            Call::Infer(_) => unreachable!("an inference is a job"),
            Call::SharedMemory => b"[]".to_vec(),
        };
        Ok(Response::json(200, body))
    }
}
