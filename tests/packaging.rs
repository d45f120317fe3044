//! What packages say of themselves is what the sources say.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a file")
}

/// A template of `tests/packaging`, with `values` and what the sources say.
fn filled(template: &str, values: &[&str]) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packaging");
    let output = Command::new(folder.join("fill"))
        .arg(folder.join(template))
        .args(values)
        .env_remove("DEBFULLNAME")
        .env_remove("DEBEMAIL")
        .output()
        .expect("a program");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success(), "{template}: {said}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn json(template: &str) -> Value {
    serde_json::from_str(&filled(template, &[])).expect("JSON")
}

/// The fields of a control file of Debian, without the lines that go on.
fn fields(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter(|line| !line.starts_with(' ')).filter_map(|l| l.split_once(": ")).collect()
}

/// What `name = '..'` says in the control file.
fn control(name: &str) -> String {
    let text = read("pg_webhook.control");
    let begins = format!("{name} = '");
    let line = text.lines().find_map(|line| line.strip_prefix(&begins)).expect("a line with it");
    line.trim_end_matches('\'').to_owned()
}

fn majors() -> Vec<u32> {
    let manifest = read("Cargo.toml");
    let major = |line: &str| line.strip_prefix("pg")?.split(' ').next()?.parse().ok();
    let majors: Vec<u32> = manifest.lines().filter_map(major).collect();
    assert!(majors.len() > 1);
    majors
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[test]
fn packages_of_debian_say_what_the_sources_say() {
    for major in majors() {
        let major = &format!("MAJOR={major}");
        let package = filled("deb.control", &[major, "ARCH=amd64", "SIZE=7000", "LIBRARIES=libc6"]);
        let symbols =
            filled("dbgsym.control", &[major, "ARCH=amd64", "SIZE=4000", "BUILD_ID=0123"]);
        let (package, symbols) = (fields(&package), fields(&symbols));
        let name = format!("postgresql-{}-pg-webhook", &major[6..]);
        assert_eq!(package["Package"], name);
        assert_eq!(package["Version"], format!("{VERSION}-1"));
        assert_eq!(package["Depends"], format!("postgresql-{}, libc6", &major[6..]));
        let first_line = format!("{}, for PostgreSQL {}", control("comment"), &major[6..]);
        assert_eq!(package["Description"], first_line);
        // lintian's limit
        assert!(first_line.len() <= 80, "{first_line}");
        assert_eq!(symbols["Package"], format!("{name}-dbgsym"));
        assert_eq!(symbols["Depends"], format!("{name} (= {VERSION}-1)"));
        assert_eq!(symbols["Version"], package["Version"]);
        assert_eq!(symbols["Maintainer"], package["Maintainer"]);
        let spec = filled("pg_webhook.spec", &[major]);
        let spec = fields(&spec);
        assert_eq!(spec["Name"].trim(), format!("pg_webhook_{}", &major[6..]));
        assert_eq!(spec["Version"].trim(), VERSION);
        assert_eq!(spec["Summary"].trim(), first_line);
        assert_eq!(spec["License"].trim(), env!("CARGO_PKG_LICENSE"));
    }
    assert!(filled("deb.changelog", &[]).starts_with(&format!("pg-webhook ({VERSION}-1) ")));
    let copyright = filled("deb.copyright", &[&format!("LICENCE_TEXT={}", read("LICENSE"))]);
    assert!(copyright.contains("Copyright (c) "));
}

#[test]
fn what_pgxn_reads_says_what_the_sources_say() {
    let (first, second) = (json("META.json"), json("META.v2.json"));
    let majors = majors();
    let (oldest, after) = (majors[0], majors[majors.len() - 1] + 1);
    for meta in [&first, &second] {
        assert_eq!(meta["name"], "pg_webhook");
        assert_eq!(meta["version"], VERSION);
        assert_eq!(meta["abstract"], control("comment"));
        assert_eq!(meta["description"], env!("CARGO_PKG_DESCRIPTION"));
    }
    let license = env!("CARGO_PKG_LICENSE");
    assert_eq!(first["license"], license.to_lowercase());
    assert_eq!(second["license"], license);
    assert_eq!(first["provides"]["pg_webhook"]["version"], VERSION);
    let range = &first["prereqs"]["runtime"]["requires"]["PostgreSQL"];
    assert_eq!(range, &format!(">= {oldest}.0.0, < {after}.0.0"));
    let range = &second["dependencies"]["postgres"]["version"];
    assert_eq!(range, &format!(">= {oldest}.0, < {after}.0"));
    // Files that are named are in the archive.
    let (provided, contents) = (&first["provides"]["pg_webhook"], &second["contents"]);
    let extension = &contents["extensions"]["pg_webhook"];
    let named = [&provided["file"], &provided["docfile"], &extension["control"], &extension["sql"]];
    for path in
        named.into_iter().chain([&extension["doc"], &contents["modules"]["pg_webhook"]["doc"]])
    {
        assert!(!read(path.as_str().expect("a path")).is_empty());
    }
}

/// An image volume is mounted anywhere: the server looks for the library along its `dynamic_library_path`.
#[test]
fn the_library_is_found_by_its_name() {
    assert_eq!(control("module_pathname"), "pg_webhook");
    assert_eq!(control("default_version"), "@CARGO_VERSION@");
}

#[test]
fn packages_are_installed_where_debian_has_the_server() {
    let majors = majors();
    let table = read("tests/packaging/debian");
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    let tested: Vec<u32> =
        rows.map(|row| row.split(' ').next().expect("a word").parse().expect("a number")).collect();
    assert!(tested.len() > 1);
    assert!(tested.iter().all(|major| majors.contains(major)), "{tested:?}");
}

/// The commands of docs/RELEASING.md, in a copy of what they change.
#[test]
fn a_release_changes_the_version_everywhere() {
    let text = read("docs/RELEASING.md");
    let commands = text.split("```sh\n").nth(1).and_then(|block| block.split("cargo ").next());
    let (_, commands) = commands.and_then(|block| block.split_once('\n')).expect("commands");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("release");
    fs::create_dir_all(folder.join("src")).expect("a folder");
    let files = ["Cargo.toml", "src/lib.rs", "README.md", "CHANGELOG.md"];
    for file in files {
        fs::write(folder.join(file), read(file)).expect("a copy");
    }
    let output = Command::new("bash")
        .args(["-euc", &format!("version=98.7.6\n{commands}")])
        .current_dir(&folder)
        .output()
        .expect("a program");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let [cargo, library, readme, changes] =
        files.map(|file| fs::read_to_string(folder.join(file)).expect("a file"));
    assert!(cargo.contains("[workspace.package]\nversion = \"98.7.6\"\n"));
    assert_eq!(cargo.matches("98.7.6").count(), 1);
    assert!(library.contains("version = c\"98.7.6\""));
    assert!(readme.contains("User-Agent: pg_webhook/98.7.6\n"));
    assert!(!readme.contains(&format!("pg_webhook/{VERSION}")));
    assert!(changes.contains("## [Unreleased]\n\n## [98.7.6] - 20"));
}

/// An older Rust than `rust-version` could not build what Cargo.lock has; that `rust-version` itself can, clippy looks for in our
/// code (`incompatible_msrv`).
#[test]
fn no_dependency_asks_for_a_newer_rust() {
    let number = |version: &str| -> Vec<u32> {
        version
            .split('.')
            .map(|part| part.parse().expect("a number"))
            .chain([0, 0])
            .take(3)
            .collect()
    };
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version=1", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .output()
        .expect("a program");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let ours = number(env!("CARGO_PKG_RUST_VERSION"));
    let mut seen = 0;
    for package in metadata["packages"].as_array().expect("packages") {
        if let Some(version) = package["rust_version"].as_str() {
            assert!(number(version) <= ours, "{} asks for {version}", package["name"]);
            seen += 1;
        }
    }
    assert!(seen > 50);
}
