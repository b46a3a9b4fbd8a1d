//! `waystation models`: the providers of models, and whether they answer.

use clap::Args;

use super::Outcome;
use crate::config::Config;

#[derive(Args)]
pub(super) struct Models {
    /// Print them as JSON.
    #[arg(long)]
    json: bool,
}

impl Models {
    pub(super) async fn execute(self, config: Config) -> Outcome {
        let _ = (self.json, config);
        Ok(())
    }
}
