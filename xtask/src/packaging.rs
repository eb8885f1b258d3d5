//! Whether what is shipped beside the binary holds: scripts, the unit, the example configuration.

use crate::checks::{not_run, with_binary};
use crate::step::{Outcome, command, run};
use crate::tools;

const SCRIPTS: [&str; 3] = ["packaging/release.sh", "examples/postgres/run.sh", ".ci/run"];
const INSTALLED: &str = "/usr/local/bin/tidegate";

pub(crate) fn check() -> Outcome {
    scripts().and(configuration()).and(unit())
}

fn scripts() -> Outcome {
    for script in SCRIPTS {
        run(&format!("syntax of {script}"), command("bash", ["-n", script]))?;
    }
    if !tools::has_program("shellcheck") {
        return not_run("shellcheck", "it is not there");
    }
    let mut check = command("shellcheck", ["--severity=warning"]);
    check.args(SCRIPTS);
    run("shellcheck", check)
}

/// The gateway would start with the example.
fn configuration() -> Outcome {
    let binary = tools::target().join("debug/tidegate");
    let check = command(binary, ["config", "check", "--config", "packaging/tidegate.toml"]);
    run("packaging/tidegate.toml", with_binary(check)?)
}

/// The unit is verified with our binary in the place of the installed one, which has to be there.
fn unit() -> Outcome {
    const UNIT: &str = "packaging/tidegate.service";
    if !tools::has_program("systemd-analyze") {
        return not_run(UNIT, "there is no systemd-analyze");
    }
    let failed = |error| format!("{UNIT}: {error}");
    let binary = tools::target().join("debug/tidegate");
    let text = std::fs::read_to_string(tools::root().join(UNIT)).map_err(failed)?;
    let folder = tools::target().join("xtask");
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let copy = folder.join("tidegate.service");
    std::fs::write(&copy, text.replace(INSTALLED, &binary.to_string_lossy())).map_err(failed)?;
    let mut verify = command("systemd-analyze", ["verify", "--man=no"]);
    verify.arg(copy);
    run(UNIT, verify)
}
