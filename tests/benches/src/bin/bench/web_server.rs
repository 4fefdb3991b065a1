//! Web servers in front of the application.

use super::runner::{free_address, Runner, ServerProcess};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebServer {
    Nginx,
    HAProxy,
    Caddy,
}

/// The params that nginx sends with Debian's file `fastcgi_params`.
const NGINX_PARAMS: [(&str, &str); 17] = [
    ("QUERY_STRING", "$query_string"),
    ("REQUEST_METHOD", "$request_method"),
    ("CONTENT_TYPE", "$content_type"),
    ("CONTENT_LENGTH", "$content_length"),
    ("SCRIPT_NAME", "$fastcgi_script_name"),
    ("REQUEST_URI", "$request_uri"),
    ("DOCUMENT_URI", "$document_uri"),
    ("DOCUMENT_ROOT", "$document_root"),
    ("SERVER_PROTOCOL", "$server_protocol"),
    ("REQUEST_SCHEME", "$scheme"),
    ("GATEWAY_INTERFACE", "CGI/1.1"),
    ("SERVER_SOFTWARE", "nginx/$nginx_version"),
    ("REMOTE_ADDR", "$remote_addr"),
    ("REMOTE_PORT", "$remote_port"),
    ("SERVER_ADDR", "$server_addr"),
    ("SERVER_PORT", "$server_port"),
    ("SERVER_NAME", "$server_name"),
];

impl WebServer {
    /// Returns the program, which `tests/benches/run` links into the directory of the others.
    pub fn program(self) -> &'static str {
        match self {
            Self::Nginx => "installed/nginx",
            Self::HAProxy => "installed/haproxy",
            Self::Caddy => "installed/caddy",
        }
    }

    /// Starts the web server in front of the application at a Unix socket. Returns its address.
    pub fn start(
        self,
        runner: &Runner,
        app: &str,
        keep_conn: bool,
    ) -> Result<(ServerProcess, String), String> {
        let address = free_address();
        let configuration = match self {
            Self::Nginx => nginx(runner, &address, app, keep_conn),
            Self::HAProxy => haproxy(&address, app, keep_conn),
            Self::Caddy => caddy(&address, app),
        };
        let file = runner.directory.join("configuration");
        std::fs::write(&file, configuration).map_err(|error| error.to_string())?;
        let mut command = runner.command(self.program(), true, 1.0);
        match self {
            Self::Nginx => command.arg("-p").arg(&runner.directory).arg("-c"),
            Self::HAProxy => command.args(["-db", "-f"]),
            Self::Caddy => command
                .env("HOME", &runner.directory)
                .env("XDG_DATA_HOME", &runner.directory)
                .env("XDG_CONFIG_HOME", &runner.directory)
                .args(["run", "--adapter", "caddyfile", "--config"]),
        };
        Ok((ServerProcess::start(command.arg(file))?, address))
    }
}

fn nginx(runner: &Runner, address: &str, app: &str, keep_conn: bool) -> String {
    let directory = runner.directory.display();
    let temporary_files: String = ["client_body", "fastcgi", "proxy", "scgi", "uwsgi"]
        .map(|name| format!("{name}_temp_path {directory}/{name};\n"))
        .concat();
    let params = NGINX_PARAMS.map(|(name, value)| format!("fastcgi_param {name} {value};\n"));
    let (keep_conn, keepalive) = if keep_conn { ("on", "keepalive 8;") } else { ("off", "") };
    format!(
        "daemon off;
        master_process off;
        pid {directory}/nginx.pid;
        error_log stderr;
        events {{ worker_connections 512; }}
        http {{
            access_log off;
            keepalive_requests 1000000;
            {temporary_files}
            upstream app {{ server unix:{app}; {keepalive} }}
            server {{
                listen {address};
                location / {{
                    {}
                    fastcgi_keep_conn {keep_conn};
                    fastcgi_pass app;
                }}
            }}
        }}",
        params.concat()
    )
}

fn haproxy(address: &str, app: &str, keep_conn: bool) -> String {
    let no = if keep_conn { "" } else { "no " };
    format!(
        "global\n nbthread 1\n\
         defaults\n mode http\n timeout connect 20s\n timeout client 60s\n timeout server 60s\n\
         frontend web\n bind {address}\n default_backend app\n\
         fcgi-app app\n docroot /srv/app\n index index.cgi\n {no}option keep-conn\n\
         backend app\n use-fcgi-app app\n http-reuse always\n server one unix@{app} proto fcgi\n"
    )
}

/// Caddy opens a connection for each request.
fn caddy(address: &str, app: &str) -> String {
    let (host, port) = address.split_once(':').expect("host and port");
    format!(
        "{{\n admin off\n auto_https off\n}}\n\
         http://:{port} {{\n bind {host}\n \
         reverse_proxy unix/{app} {{\n transport fastcgi\n }}\n}}\n"
    )
}
