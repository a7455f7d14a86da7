//! What a newcomer reads after the first start.

use std::{fmt, path::PathBuf};

use common::join::JoinString;

use super::reachable;
use crate::data_dir::Addresses;

/// All that the text needs.
pub struct Guide {
    /// Where the server listens.
    pub addresses: Addresses,
    /// Whether the public port speaks TLS.
    pub tls: bool,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// The key to show.
    pub key: String,
    /// For other machines.
    pub join: JoinString,
    /// What can be asked for.
    pub models: Vec<String>,
    /// Whether no real engine was found.
    pub simulated: bool,
}

impl fmt::Display for Guide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        let base = format!("{scheme}://{}/v1", reachable(self.addresses.public));
        let model = self.models.first().map_or("MODEL", String::as_str);
        let key = &self.key;
        writeln!(f, "\n  GPUFabric is running.\n")?;
        writeln!(f, "  Base URL   {base}")?;
        writeln!(f, "  API key    {key}")?;
        writeln!(f, "  Models     {}", self.models_line())?;
        writeln!(f, "  Kept in    {}", self.data_dir.display())?;
        if self.simulated {
            write!(f, "{SIMULATED}")?;
        }
        writeln!(f, "\n  Try it with curl:\n")?;
        writeln!(f, "    curl -N {base}/chat/completions \\")?;
        writeln!(f, "      -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\")?;
        writeln!(
            f,
            "      -d '{{\"model\":\"{model}\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'"
        )?;
        writeln!(f, "\n  Or from Python (pip install openai):\n")?;
        writeln!(f, "    from openai import OpenAI")?;
        writeln!(f, "    client = OpenAI(base_url=\"{base}\", api_key=\"{key}\")")?;
        writeln!(f, "    for chunk in client.chat.completions.create(model=\"{model}\", stream=True,")?;
        writeln!(f, "            messages=[{{\"role\": \"user\", \"content\": \"Hello\"}}]):")?;
        writeln!(f, "        print(chunk.choices[0].delta.content or \"\", end=\"\", flush=True)")?;
        writeln!(f, "\n  Bring in another machine with a GPU (up to 10 within a day):\n")?;
        writeln!(f, "    gpuf-c join {}", self.join)?;
        writeln!(f, "    gpuf-c")?;
        writeln!(f, "\n  Ctrl-C stops it; the next start reuses keys and machines.\n")
    }
}

impl Guide {
    fn models_line(&self) -> String {
        const SHOWN_MAX: usize = 8;
        if self.models.is_empty() {
            return "none yet; they appear as soon as an engine serves one".to_owned();
        }
        let shown = self.models.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
        match self.models.len().saturating_sub(SHOWN_MAX) {
            0 => shown,
            more => format!("{shown} and {more} more"),
        }
    }
}

const SIMULATED: &str = "
  No inference engine was found on this machine, so a SIMULATED one answers: its words are canned.
  For real answers start one, and it is found within seconds:
    Ollama      https://ollama.com/download, then: ollama pull llama3.2
    llama.cpp   llama-server -m model.gguf --port 8080
    vLLM        vllm serve Qwen/Qwen3-0.6B --port 8000
";
