//! A gateway with an agent of its own: it counts the words of a text, and says how far it is.
//!
//! ```sh
//! cargo run --example agent
//! tidegate agent run words --input '"one two three"'      # in another terminal
//! ```

use std::error::Error;
use std::path::Path;

use tidegate::tidegate_jobs::Fault;
use tidegate::tidegate_jobs::agents::{Job, Output};
use tidegate::{Config, Flags, Gateway};

const CONFIG: &str = "[identity]\nanonymous = true\n";

async fn words(job: Job) -> Result<Output, Fault> {
    let text: String = job.input()?;
    job.status("counting", None).await?;
    let all = text.split_whitespace().count();
    for (count, word) in text.split_whitespace().enumerate() {
        job.log("info", word).await?;
        job.progress(count as u64 + 1, Some(all as u64), Some("words")).await?;
    }
    Output::of(&all)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let data_dir = Some(std::env::temp_dir().join("tidegate-agent"));
    let config = Config::layered(Some((Path::new("agent.toml"), CONFIG)), [], &Flags { data_dir, ..Flags::default() })?;
    let mut gateway = Gateway::builder(config).agent("words", "1.0.0", words).start().await?;
    println!("an agent on {}", gateway.url());
    Ok(gateway.ended().await?)
}
