//! `lab-clean [--all]`: removes what labs left whose owner died; with `--all` every lab.
#![expect(clippy::print_stdout, reason = "a command that reports to its user")]

use anyhow::{Result, bail};
use weft_tests::harness::{clean, require_root};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let all = match args.as_slice() {
        [] => false,
        [flag] if flag == "--all" => true,
        _ => bail!("usage: lab-clean [--all]"),
    };
    require_root()?;
    for run in clean::clean(all)? {
        println!("removed {run}");
    }
    Ok(())
}
