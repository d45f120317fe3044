//! Versions that have been released: what they install stays as it was, and there is a way from them to this one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// `tests/packaging/released`; what it complains of, where it fails.
fn released(arguments: &[&Path]) -> Result<(), String> {
    let output = Command::new(root().join("tests/packaging/released"))
        .args(arguments)
        .output()
        .expect("a program");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

fn git(folder: &Path, arguments: &[&str]) {
    let identity = ["-c", "user.name=x", "-c", "user.email=x@x", "-c", "tag.gpgSign=false"];
    let output = Command::new("git")
        .args(["-c", "commit.gpgSign=false"])
        .args(identity)
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("git");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_has_been_released_is_as_it_was() {
    released(&[Path::new("check"), &root().join("sql/released")]).expect("no change");
}

/// From the first time that a version is kept to its tag, and what is refused after that.
#[test]
fn a_version_may_be_kept_again_until_it_has_a_tag() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("released");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    let (script, kept) = (folder.join("made"), folder.join("pg_webhook--9.8.7.sql"));
    let install = |text: &str| fs::write(&script, text).expect("a file");
    let version = Path::new("9.8.7");
    let keep = || released(&[Path::new("keep"), &folder, version, &script]);
    let same = || released(&[Path::new("same"), &folder, version, &script]);
    let check = || released(&[Path::new("check"), &folder]);
    git(&folder, &["init", "--quiet"]);

    install("first");
    same().expect("nothing is kept yet");
    check().expect("nothing to check");
    keep().expect("kept");
    install("second");
    assert!(same().expect_err("it differs").contains("make released"));
    keep().expect("kept again");
    same().expect("the same");
    check().expect("the same");
    git(&folder, &["add", "pg_webhook--9.8.7.sql", "SHA256SUMS"]);
    git(&folder, &["commit", "--quiet", "--message", "x"]);
    git(&folder, &["tag", "v9.8.7"]);
    keep().expect("nothing changes");
    check().expect("as it was");

    install("third");
    assert!(keep().expect_err("it has a tag").contains("has been released"));
    assert!(same().is_err());
    fs::write(&kept, "third").expect("a file");
    assert!(check().is_err(), "it is not what its checksum says");
    let sum = Command::new("sha256sum").arg("pg_webhook--9.8.7.sql").current_dir(&folder).output();
    fs::write(folder.join("SHA256SUMS"), sum.expect("a program").stdout).expect("a file");
    assert!(check().expect_err("another one").contains("not what was released as v9.8.7"));
    fs::write(folder.join("pg_webhook--9.8.8.sql"), "x").expect("a file");
    assert!(check().expect_err("it has none").contains("has no checksum"));
}

/// What is missing for an update from each of the versions `kept` to `own`, with the update scripts of these names, and a library that
/// knows `known`.
fn missing(kept: &[&str], own: &str, scripts: &BTreeSet<String>, known: &str) -> Vec<String> {
    let mut missing = Vec::new();
    let others: Vec<&str> = kept.iter().copied().filter(|version| *version != own).collect();
    for (at, version) in others.iter().enumerate() {
        let next = others.get(at + 1).unwrap_or(&own);
        let script = format!("pg_webhook--{version}--{next}.sql");
        if !scripts.contains(&script) {
            missing.push(script);
        }
    }
    let last = others.last().filter(|version| !known.contains(&format!("\"{version}\"")));
    missing.extend(last.map(|version| format!("{version} in src/domain/version.rs")));
    missing
}

#[test]
fn there_is_a_way_from_each_released_version() {
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(root().join(folder)).expect("a folder");
        entries.map(|e| e.expect("an entry").file_name().into_string().expect("a name")).collect()
    };
    let sums = fs::read_to_string(root().join("sql/released/SHA256SUMS")).unwrap_or_default();
    let kept: Vec<&str> =
        sums.lines().filter_map(|line| line.split_once("--")?.1.strip_suffix(".sql")).collect();
    let library = fs::read_to_string(root().join("src/domain/version.rs")).expect("a file");
    let (_, known) = library.split_once("const KNOWN: &[&str] = &[").expect("the known versions");
    let (known, _) = known.split_once("];").expect("their end");
    assert_eq!(missing(&kept, VERSION, &names("sql"), known), Vec::<String>::new());
}

#[test]
fn a_way_that_is_missing_is_found() {
    let scripts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let none = scripts(&[]);
    assert_eq!(missing(&[], "0.1.0", &none, ""), Vec::<String>::new());
    assert_eq!(missing(&["0.2.0"], "0.2.0", &none, ""), Vec::<String>::new());
    let first = "pg_webhook--0.2.0--0.3.0.sql";
    assert_eq!(missing(&["0.2.0"], "0.3.0", &none, "\"0.2.0\""), [first]);
    let known = missing(&["0.2.0"], "0.3.0", &scripts(&[first]), "");
    assert_eq!(known, ["0.2.0 in src/domain/version.rs"]);
    let then = missing(&["0.2.0", "0.3.0"], "0.4.0", &scripts(&[first]), "\"0.3.0\"");
    assert_eq!(then, ["pg_webhook--0.3.0--0.4.0.sql"]);
}
