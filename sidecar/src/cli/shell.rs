//! Completions and manual pages, made from the commands themselves.

use clap::Args;
use clap_complete::Shell;
use std::path::PathBuf;
use std::process::ExitCode;

use super::error::CommandResult;
use super::output;

#[derive(Args, Debug)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(Args, Debug)]
pub struct Man {
    /// Directory to write them to; made if it is not there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Completions {
    pub fn run(self, mut root: clap::Command) -> CommandResult {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut root, "pg-webhooks", &mut script);
        output::bytes(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Man {
    pub fn run(self, root: clap::Command) -> CommandResult {
        std::fs::create_dir_all(&self.directory)?;
        clap_mangen::generate_to(root, &self.directory)?;
        Ok(ExitCode::SUCCESS)
    }
}
