//! Proves that web applications in PHP can be used through the example `gateway`: DokuWiki,
//! WordPress, phpMyAdmin and Adminer, each in a browser.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::app::example;
use crate::echo::{assert_bytes_eq, random_bytes};
use crate::endpoint::{free_port, Endpoint};
use crate::http::{is_listening, HttpRequest};
use crate::php::start_fpm;
use crate::process::{command, wait_until, Process, TestDir};
use crate::webdriver::Browser;

/// The user of every application.
const USER: &str = "ferris";
const PASSWORD: &str = "open-Sesame-7";
/// The size of an upload, in bytes.
const UPLOAD_LEN: usize = 5 << 20;

/// An application behind a gateway.
struct Site {
    port: u16,
    browser: Browser,
    /// Its log is printed if the test fails.
    _gateway: Process,
    _fpm: Process,
}

impl Site {
    /// Starts php-fpm, a gateway for the directory `root`, and a browser.
    #[track_caller]
    fn start(dir: &TestDir, options: &[&str]) -> Self {
        let endpoint = Endpoint::unix(dir);
        let fpm = start_fpm(&endpoint, dir);
        let port = free_port();
        let mut gateway = Command::new(example("gateway"));
        gateway.args(["--listen", &format!("127.0.0.1:{port}"), "--connect"]);
        gateway.arg(endpoint.to_string()).arg("--root").arg(dir.join("root")).args(options);
        let mut gateway = Process::start("gateway", &mut gateway, dir);
        gateway.wait_until("listening", || is_listening(port));
        let browser = Browser::start(dir);
        browser.set_screen(1200, "light");
        Self { port, browser, _gateway: gateway, _fpm: fpm }
    }

    #[track_caller]
    fn open(&self, path: &str) {
        self.browser.open(&format!("http://127.0.0.1:{}{path}", self.port));
    }

    /// Downloads a file, and compares it with what was uploaded. A range is a part of it.
    #[track_caller]
    fn check_download(&self, path: &str, expected: &[u8]) {
        let whole = HttpRequest::get(path).send(self.port);
        assert_eq!(whole.status, 200, "{path}");
        assert_bytes_eq(&whole.body, expected);
        let part = HttpRequest::get(path).header("Range", "bytes=100-199").send(self.port);
        assert_eq!(part.status, 206, "{path}");
        assert_bytes_eq(&part.body, &expected[100..200]);
    }
}

/// Copies a directory that a package has installed. Links are followed.
#[track_caller]
fn copy(from: &str, to: &Path) {
    let status = command("cp").arg("-rL").arg(from).arg(to).status().expect("cp");
    assert!(status.success(), "{from} cannot be copied; .ci/run installs its package");
}

/// Runs a program and returns what it prints.
#[track_caller]
fn output(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().expect("a program");
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// A running database server with an empty database `web`.
struct Database {
    socket: PathBuf,
    _process: Process,
}

impl Database {
    #[track_caller]
    fn start(dir: &TestDir) -> Self {
        let (data, socket) = (dir.join("db"), dir.join("db.sock"));
        let data_dir = format!("--datadir={}", data.display());
        let mut install = command("mariadb-install-db");
        install.args(["--no-defaults", "--user=root", "--skip-test-db", &data_dir]);
        output(install.arg("--auth-root-authentication-method=normal"));
        let mut server = command("mariadbd");
        server.args(["--no-defaults", "--user=root", "--skip-networking", &data_dir]);
        server.arg(format!("--socket={}", socket.display()));
        server.arg(format!("--pid-file={}", dir.join("db.pid").display()));
        let mut process = Process::start("mariadbd", &mut server, dir);
        let endpoint = Endpoint::Unix(socket.clone());
        process.wait_until("listening", || endpoint.is_listening());
        let database = Self { socket, _process: process };
        database.query(&format!(
            "CREATE DATABASE web; CREATE USER {USER}@localhost IDENTIFIED BY '{PASSWORD}'; \
             GRANT ALL ON web.* TO {USER}@localhost"
        ));
        database
    }

    #[track_caller]
    fn query(&self, sql: &str) -> String {
        let mut client = command("mariadb");
        client.args(["--no-defaults", "--user=root", "--batch", "--skip-column-names"]);
        output(client.arg(format!("--socket={}", self.socket.display())).args(["--execute", sql]))
    }
}

/// Writes a file with SQL that inserts 5 MB of text into a new table. Returns it and the number of
/// its rows.
fn write_import(dir: &TestDir, table: &str) -> (PathBuf, usize) {
    let row = format!("INSERT INTO {table} VALUES ('{}');\n", "x".repeat(50_000));
    let rows = UPLOAD_LEN / row.len() + 1;
    let text = format!("CREATE TABLE {table} (t MEDIUMTEXT);\n{}", row.repeat(rows));
    (dir.write("import.sql", text), rows)
}

#[test]
#[ignore = "needs dokuwiki, php-fpm and chromium, run by .ci/run"]
fn dokuwiki_can_be_used() {
    let dir = TestDir::new();
    install_dokuwiki(&dir);
    let site = Site::start(&dir, &[]);
    let browser = &site.browser;

    site.open("/doku.php?id=start&do=login");
    browser.fill("#dw__login input[name=u]", USER);
    browser.fill("#dw__login input[name=p]", PASSWORD);
    browser.click("#dw__login button[type=submit]");
    browser.find("a[href*='do=logout']");

    site.open("/doku.php?id=page&do=edit");
    browser.fill("#wiki__text", "====== A page ======\nwritten through the gateway");
    browser.click("#edbtn__save");
    browser.wait_for("document.body.innerText.includes('written through the gateway')");
    browser.screenshot("dokuwiki");

    let bytes = random_bytes(UPLOAD_LEN);
    site.open("/doku.php?id=page&do=media&ns=");
    browser.click("a[href*='tab_files=upload']");
    browser.select_file(".qq-uploader input[type=file]", &dir.write("large.zip", &bytes));
    browser.click("#mediamanager__upload_button");
    browser.find(".qq-upload-success, .success");
    site.check_download("/lib/exe/fetch.php?media=large.zip", &bytes);

    site.open("/doku.php?id=page");
    browser.click("a[href*='do=logout']");
    browser.find("a[href*='do=login']");
}

fn install_dokuwiki(dir: &TestDir) {
    let (root, conf, data) = (dir.join("root"), dir.join("conf"), dir.join("data"));
    copy("/usr/share/dokuwiki", &root);
    copy("/etc/dokuwiki", &conf);
    copy("/var/lib/dokuwiki/data", &data);
    let preload = format!(
        "<?php define('DOKU_MAIN_CONF', '{0}/'); define('DOKU_CONF', '{0}/');",
        conf.display()
    );
    fs::write(root.join("inc/preload.php"), preload).expect("a file");
    let hash = format!("echo password_hash('{PASSWORD}', PASSWORD_BCRYPT);");
    let hash = output(command("php").args(["-r", &hash]));
    let user = format!("{USER}:{hash}:Ferris:ferris@example.org:admin,user\n");
    let settings = format!(
        "<?php $conf['title'] = 'Wiki'; $conf['useacl'] = 1; $conf['superuser'] = '@admin';\n\
         $conf['savedir'] = '{}'; $conf['updatecheck'] = 0;\n",
        data.display()
    );
    for (name, text) in [
        ("local.php", &*settings),
        ("users.auth.php", &user),
        ("acl.auth.php", "*\t@ALL\t1\n*\t@user\t16\n"),
    ] {
        fs::write(conf.join(name), text).expect("a file");
    }
}

#[test]
#[ignore = "needs wordpress, mariadb, php-fpm and chromium, run by .ci/run"]
fn wordpress_can_be_used() {
    let dir = TestDir::new();
    let database = Database::start(&dir);
    install_wordpress(&dir, &database);
    let site = Site::start(&dir, &["--fallback", "/index.php"]);
    let browser = &site.browser;

    site.open("/wp-admin/install.php");
    browser.click("#language-continue, #submit");
    // A script of the page proposes a password once it has loaded another, and moves the focus.
    browser.wait_for("typeof zxcvbn === 'function' && document.querySelector('#pass1').value");
    browser.fill("#weblog_title", "A site");
    browser.fill("#user_login", USER);
    browser.fill("#pass1", PASSWORD);
    browser.fill("#admin_email", "ferris@example.org");
    browser.click("#submit");
    browser.click("a[href*='wp-login.php']");

    // A script of the page moves the focus 200 ms after it has loaded.
    browser.wait_for("document.activeElement?.id === 'user_login'");
    browser.fill("#user_login", USER);
    browser.fill("#user_pass", PASSWORD);
    browser.click("#wp-submit");
    browser.find("#wpadminbar");

    site.open("/wp-admin/options-permalink.php");
    browser.fill("#permalink_structure", "/%postname%/");
    browser.click("#submit");
    browser.find(".notice-success, #setting-error-settings_updated");
    publish_post(&site);
    site.open("/written-through-the-gateway/");
    browser.wait_for("document.body.innerText.includes('The text of the post.')");
    browser.screenshot("wordpress");
    // The other form of a permalink, as PATH_INFO.
    site.open("/index.php/written-through-the-gateway/");
    browser.wait_for("document.body.innerText.includes('The text of the post.')");

    let bytes = random_bytes(UPLOAD_LEN);
    site.open("/wp-admin/media-new.php?browser-uploader");
    browser.select_file("#async-upload", &dir.write("large.zip", &bytes));
    browser.click("#html-upload");
    browser.wait_for("location.pathname.endsWith('/upload.php')");
    let found = "SELECT guid FROM wp_posts WHERE post_type = 'attachment'";
    let url = database.query(&format!("USE web; {found}"));
    let path = url.split_once(&site.port.to_string()).expect("the URL of the upload").1;
    site.check_download(path, &bytes);

    let logout = "return document.querySelector('#wp-admin-bar-logout a').href";
    browser.open(&browser.text(logout));
    browser.find("#loginform");
}

/// Publishes a post as the editor does, which runs in the browser and uses the REST interface
/// below a permalink.
#[track_caller]
fn publish_post(site: &Site) {
    site.open("/wp-admin/post-new.php");
    site.browser.wait_for("window.wp && wp.apiFetch && wp.data");
    let status = site.browser.text(
        "return wp.apiFetch({ path: '/wp/v2/posts', method: 'POST', data: {
            title: 'Written through the gateway', content: 'The text of the post.',
            status: 'publish' } }).then(post => post.status + ' ' + post.slug)",
    );
    assert_eq!(status, "publish written-through-the-gateway");
}

fn install_wordpress(dir: &TestDir, database: &Database) {
    let root = dir.join("root");
    copy("/usr/share/wordpress", &root);
    let settings = format!(
        "<?php
        define('DB_NAME', 'web'); define('DB_USER', '{USER}'); define('DB_PASSWORD', '{PASSWORD}');
        define('DB_HOST', 'localhost:{}'); define('DB_CHARSET', 'utf8mb4');
        define('WP_HTTP_BLOCK_EXTERNAL', true); define('DISABLE_WP_CRON', true);
        define('AUTOMATIC_UPDATER_DISABLED', true);
        $table_prefix = 'wp_';
        define('ABSPATH', __DIR__ . '/');
        require_once ABSPATH . 'wp-settings.php';",
        database.socket.display()
    );
    fs::write(root.join("wp-config.php"), settings).expect("a file");
}

#[test]
#[ignore = "needs phpmyadmin, mariadb, php-fpm and chromium, run by .ci/run"]
fn phpmyadmin_can_be_used() {
    let dir = TestDir::new();
    let database = Database::start(&dir);
    install_phpmyadmin(&dir, &database);
    let site = Site::start(&dir, &[]);
    let browser = &site.browser;

    site.open("/");
    browser.fill("#input_username", USER);
    browser.fill("#input_password", PASSWORD);
    browser.click("#input_go");
    browser.find("a[href*='route=/logout']");
    browser.screenshot("phpmyadmin");

    let (file, rows) = write_import(&dir, "uploads");
    site.open("/index.php?route=/database/import&db=web");
    browser.select_file("#input_import_file", &file);
    // A bar at the bottom of the page covers the button.
    browser.run("document.querySelector('#buttonGo').click()");
    wait_until("the import", || {
        database.query("SHOW TABLES FROM web") == "uploads"
            && database.query("SELECT COUNT(*) FROM web.uploads") == rows.to_string()
    });
    // The page answers with a relative redirect.
    site.open("/index.php?route=/themes/set&set_theme=original");
    browser.find("a[href*='route=/logout']");

    site.open("/index.php?route=/table/export&db=web&table=uploads");
    browser.find("#buttonGo");
    let exported = browser.text(
        "const form = document.querySelector('form[name=dump]');
        const body = new URLSearchParams(new FormData(form));
        // A script of the page sets this when the format is selected.
        body.set('sql_structure_or_data', 'structure_and_data');
        return fetch(form.action, { method: 'POST', body }).then(response => response.text())
            .then(text => text.split('x'.repeat(50000)).length - 1)",
    );
    assert_eq!(exported, rows.to_string());

    site.open("/");
    browser.click("a[href*='route=/logout']");
    browser.find("#input_username");
}

fn install_phpmyadmin(dir: &TestDir, database: &Database) {
    let root = dir.join("root");
    copy("/usr/share/phpmyadmin", &root);
    let temp = dir.create_dir("temp");
    let settings = format!(
        "<?php $cfg['blowfish_secret'] = 'abcdefghijklmnopqrstuvwxyz012345';
        $cfg['TempDir'] = '{0}'; $cfg['UploadDir'] = ''; $cfg['SaveDir'] = '';
        $cfg['Servers'][1] = ['auth_type' => 'cookie', 'host' => 'localhost', 'socket' => '{1}'];",
        temp.display(),
        database.socket.display()
    );
    let config = dir.write("config.inc.php", settings);
    let vendor = root.join("libraries/vendor_config.php");
    let text = fs::read_to_string(&vendor).expect("its configuration");
    let text = text.replace("/etc/phpmyadmin/config.inc.php", config.to_str().expect("text"));
    let text = text.replace("/var/lib/phpmyadmin/tmp", temp.to_str().expect("text"));
    fs::write(vendor, text).expect("its configuration");
}

#[test]
#[ignore = "needs adminer, mariadb, php-fpm and chromium, run by .ci/run"]
fn adminer_can_be_used() {
    let dir = TestDir::new();
    let database = Database::start(&dir);
    fs::create_dir(dir.join("root")).expect("a directory");
    copy("/usr/share/adminer/adminer.php", &dir.join("root/index.php"));
    let site = Site::start(&dir, &[]);
    let browser = &site.browser;

    // Adminer answers with relative redirects.
    site.open("/");
    let server = format!("localhost:{}", database.socket.display());
    browser.fill("input[name='auth[server]']", &server);
    browser.fill("input[name='auth[username]']", USER);
    browser.fill("input[name='auth[password]']", PASSWORD);
    browser.fill("input[name='auth[db]']", "web");
    browser.click("input[type=submit]");
    browser.find("input[name=logout]");
    let query = browser.text("return location.search");
    assert!(query.contains("db=web"), "{query}");

    let (file, rows) = write_import(&dir, "uploads");
    site.open(&format!("/{query}&import="));
    browser.select_file("input[type=file]", &file);
    browser.run("document.querySelector('input[type=file]').form.requestSubmit()");
    browser.wait_for("document.body.innerText.includes('queries executed OK')");
    assert_eq!(database.query("SELECT COUNT(*) FROM web.uploads"), rows.to_string());
    browser.screenshot("adminer");

    site.open(&format!("/{query}&dump=uploads"));
    browser.find("select[name=data_style]");
    let exported = browser.text(
        "const form = document.querySelector('select[name=data_style]').form;
        const body = new URLSearchParams(new FormData(form));
        body.set('output', 'text');
        body.set('format', 'sql');
        return fetch(form.action, { method: 'POST', body }).then(response => response.text())
            .then(text => text.split('x'.repeat(50000)).length - 1)",
    );
    assert_eq!(exported, rows.to_string());

    browser.click("input[name=logout]");
    browser.find("input[name='auth[username]']");
}
