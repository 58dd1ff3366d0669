//! What a shell and `man` want to know, made from the commands themselves.

use clap::Args;
use clap_complete::Shell;
use clap_mangen::Man;
use std::io;
use std::process::ExitCode;

use super::error::Outcome;
use super::output;

#[derive(Args, Debug)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub fn run(self, mut root: clap::Command) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut root, "pg-webhooks", &mut script);
        output::bytes(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// One page with all commands.
pub fn man(mut root: clap::Command) -> Outcome {
    root.build();
    let mut page = Vec::new();
    let man = Man::new(root.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    page.extend_from_slice(b".SH COMMANDS\n");
    describe(&root, &mut page)?;
    page.extend_from_slice(EPILOGUE.as_bytes());
    output::bytes(&page)?;
    Ok(ExitCode::SUCCESS)
}

/// Each command under `parent` that does something.
fn describe(parent: &clap::Command, page: &mut Vec<u8>) -> io::Result<()> {
    for command in parent.get_subcommands().filter(|command| command.get_name() != "help") {
        if command.has_subcommands() {
            describe(command, page)?;
            continue;
        }
        let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
        let mut options = Vec::new();
        // What holds for all of them is said above.
        let own = command.clone().mut_args(|arg| {
            let is_common = arg.is_global_set() || arg.get_id() == "help";
            arg.hide(is_common)
        });
        let man = Man::new(own.clone().display_name(&name));
        page.extend_from_slice(format!(".SS \"{name}\"\n").as_bytes());
        page.extend_from_slice(
            format!("{}\n", command.get_about().map(ToString::to_string).unwrap_or_default()).as_bytes(),
        );
        if own.get_arguments().any(|arg| !arg.is_hide_set()) {
            man.render_options_section(&mut options)?;
            page.extend_from_slice(&without_titles(&options));
        }
    }
    Ok(())
}

fn without_titles(section: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(section);
    text.lines().filter(|line| !line.starts_with(".SH") && !line.starts_with(".ie") && !line.starts_with(".el")).fold(
        Vec::new(),
        |mut kept, line| {
            kept.extend_from_slice(line.as_bytes());
            kept.push(b'\n');
            kept
        },
    )
}

const EPILOGUE: &str = r#".SH EXIT STATUS
.TP
0
Success; for
.BR doctor ,
no problem was found; for
.BR verify ,
the signature is valid.
.TP
1
It failed, or a problem was found, or the signature is invalid.
.TP
64
The call was wrong.
.TP
130
A signal ended it.
"#;
