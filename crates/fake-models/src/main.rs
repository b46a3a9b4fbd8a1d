//! The fake model services as a program.

use std::io::Write;

use clap::Parser;
use waystation_fake_models::FakeModels;

/// Model services that answer by rule and fail on demand.
#[derive(Parser)]
struct Arguments {
    /// The port on 127.0.0.1; 0 is a free one.
    #[arg(long, default_value_t = 9100)]
    port: u16,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let fake = FakeModels::listen(Arguments::parse().port).await?;
    writeln!(std::io::stdout(), "fake models listen on {}", fake.url())?;
    tokio::signal::ctrl_c().await?;
    Ok(())
}
