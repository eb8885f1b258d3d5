//! The servers that we are compared with: how each is had, started and spoken to.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Resource, getrlimit};

use crate::step::{command, output, run};
use crate::{setup, tools};

/// The command that starts it, and its version.
type Installed = Result<(Command, String), String>;

/// A server that tells what is published to all who have subscribed.
pub(super) struct Rival {
    pub(super) name: &'static str,
    /// Makes it ready to start, in a folder of its own and on an address.
    pub(super) install: fn(&Path, SocketAddr) -> Installed,
    /// The path of a WebSocket.
    pub(super) subscribe: &'static str,
    /// Whether an EventSource may subscribe at the same path.
    pub(super) events: bool,
    pub(super) publish: Publish,
    /// The first message of every WebSocket, and what the answer to it has.
    pub(super) hello: Option<(&'static str, &'static str)>,
    /// Sends back what it is sent, where it can.
    pub(super) echo: Option<&'static str>,
}

/// How something is published.
pub(super) enum Publish {
    /// As the body of a POST to this path.
    Http(&'static str),
    /// As a message of a WebSocket to this path; `{mark}{pad}` stands for the text.
    WebSocket(&'static str, &'static str),
}

pub(super) const RIVALS: [Rival; 4] = [
    Rival {
        name: "nchan",
        install: nchan,
        subscribe: "/subscribe",
        events: true,
        publish: Publish::Http("/publish"),
        hello: None,
        echo: None,
    },
    Rival {
        name: "ws",
        install: ws,
        subscribe: "/subscribe",
        events: false,
        publish: Publish::WebSocket("/publish", "{mark}{pad}"),
        hello: None,
        echo: Some("/echo"),
    },
    Rival {
        name: "socket.io",
        install: socket_io,
        subscribe: "/socket.io/?EIO=4&transport=websocket",
        events: false,
        publish: Publish::Http("/publish"),
        hello: Some(("40", "40{")),
        echo: None,
    },
    Rival {
        name: "gorilla",
        install: gorilla,
        subscribe: "/subscribe",
        events: false,
        publish: Publish::WebSocket("/publish", "{mark}{pad}"),
        hello: None,
        echo: Some("/echo"),
    },
];

/// Our own part of a rival.
fn ours(file: &str) -> PathBuf {
    tools::root().join("xtask/rivals").join(file)
}

/// nginx with nchan, of the system's packages.
fn nchan(folder: &Path, address: SocketAddr) -> Installed {
    const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";
    if tools::program("nginx").is_none() || !Path::new(MODULE).is_file() {
        setup::apt(&["nginx", "libnginx-mod-nchan"])?;
    }
    let nginx = tools::program("nginx").ok_or("there is no nginx")?;
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(65_536);
    let file = ours("nchan.conf");
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let filled =
        [("MODULE", MODULE.to_owned()), ("PORT", address.port().to_string()), ("LIMIT", descriptors.to_string())];
    let text = filled.iter().fold(text, |text, (name, value)| text.replace(&format!("@{name}@"), value));
    let own = folder.join("nginx.conf");
    fs::write(&own, text).map_err(|error| format!("{}: {error}", own.display()))?;
    let mut start = command(nginx, ["-c"]);
    start.arg(&own).arg("-p").arg(folder);
    let packages =
        command("dpkg-query", ["--show", "--showformat=${Package} ${Version} ", "nginx", "libnginx-mod-nchan"]);
    Ok((start, output(packages).unwrap_or_default()))
}

fn ws(folder: &Path, address: SocketAddr) -> Installed {
    node(folder, address, "ws", "8", "ws.js")
}

fn socket_io(folder: &Path, address: SocketAddr) -> Installed {
    node(folder, address, "socket.io", "4", "socketio.js")
}

/// A package of npm and our server around it.
fn node(folder: &Path, address: SocketAddr, package: &str, major: &str, server: &str) -> Installed {
    let node = tools::node().ok_or("there is no Node")?;
    let modules = folder.join("node_modules");
    let manifest = modules.join(package).join("package.json");
    if !manifest.is_file() {
        setup::npm_into(folder, &format!("{package}@{major}"))?;
    }
    let show = format!("process.version + ' {package} ' + require({:?}).version", manifest.display().to_string());
    let version = output(command(&node, ["-p", &show])).unwrap_or_default();
    let mut start = command(node, [ours(server)]);
    start.arg(address.port().to_string()).env("NODE_PATH", modules).env("NODE_ENV", "production");
    Ok((start, format!("node {version}")))
}

/// Go's gorilla/websocket and our server around it.
fn gorilla(folder: &Path, address: SocketAddr) -> Installed {
    let go = tools::program("go").ok_or("there is no Go")?;
    let binary = folder.join("gorilla");
    let mut build = command(&go, ["build", "-C"]);
    build.arg(ours("gorilla")).arg("-o").arg(&binary).arg(".");
    run("go build", build)?;
    let version = output(command(&go, ["version"])).unwrap_or_default();
    let modules = fs::read_to_string(ours("gorilla/go.mod")).unwrap_or_default();
    let module = modules.lines().find_map(|line| line.strip_prefix("require ")).unwrap_or_default();
    Ok((command(binary, [address.port().to_string()]), format!("{version} {module}")))
}
