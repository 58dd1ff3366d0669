//! `make install` puts each file beside the old one and renames it: a backend that has the library mapped, or a process
//! that has the program open, keeps the old one whole. Here it takes from and installs to a folder of the test's own.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Where this `make` takes from and installs to.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { directory: TempDir::new().expect("a temporary directory") };
        let real = std::env::var("PG_CONFIG").unwrap_or_else(|_| "pg_config".into());
        let (library, share) = (place.path("root/lib"), place.path("root/share/postgresql"));
        place.script(
            "pg_config",
            &format!(
                "case \"$1\" in --pkglibdir) echo {};; --sharedir) echo {};; *) exec {real} \"$@\";; esac",
                library.display(),
                share.display()
            ),
        );
        fs::create_dir(place.path("release")).expect("it is ours");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn script(&self, name: &str, text: &str) {
        fs::write(self.path(name), format!("#!/bin/sh\n{text}\n")).expect("it is ours");
        fs::set_permissions(self.path(name), Permissions::from_mode(0o755)).expect("it is ours");
    }

    /// What cargo would have built.
    fn build(&self, version: &str) {
        fs::write(self.path("release/libpg_webhooks.so"), version).expect("it is ours");
        let program = format!(
            "if [ \"$1\" = man ]; then mkdir -p \"$2\"; for page in pg-webhooks pg-webhooks-serve; do \
             echo \"$page of {version}\" > \"$2/$page.1\"; done; else echo \"$* of {version}\"; fi"
        );
        self.script("release/pg-webhooks", &program);
        // Cargo's part in what make knows: the library is built anew.
        let _ = fs::remove_file(self.path("stamp/extension"));
    }

    fn make(&self, target: &str) {
        let mut make = Command::new("make");
        // A make that runs the tests must not tell this one what to do.
        make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").env_remove("MFLAGS");
        make.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).args([target, "CARGO=true", "SUDO="]);
        for (name, path) in [("PG_CONFIG", "pg_config"), ("PREFIX", "root"), ("STAMP", "stamp"), ("BUILT", "release")] {
            make.arg(format!("{name}={}", self.path(path).display()));
        }
        let done = make.output().expect("make starts");
        assert!(done.status.success(), "{done:?}");
    }

    /// The files that are installed, by their paths.
    fn installed(&self) -> BTreeMap<PathBuf, File> {
        let mut files = BTreeMap::new();
        walk(&self.path("root"), &mut files);
        files
    }
}

fn walk(directory: &Path, files: &mut BTreeMap<PathBuf, File>) {
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            walk(&path, files);
        } else {
            let file = File::open(&path).expect("it can be read");
            files.insert(path, file);
        }
    }
}

fn inode(file: &File) -> u64 {
    file.metadata().expect("it is open").ino()
}

fn text(mut file: File) -> String {
    let mut text = String::new();
    file.read_to_string(&mut text).expect("it is a text");
    text
}

#[test]
fn installing_again_leaves_open_files_whole_and_uninstalling_leaves_none() {
    let place = Place::new();
    place.build("one");
    place.make("install");
    let old = place.installed();
    let expected = [
        "root/bin/pg-webhooks",
        "root/lib/pg_webhooks.so",
        "root/share/bash-completion/completions/pg-webhooks",
        "root/share/fish/vendor_completions.d/pg-webhooks.fish",
        "root/share/man/man1/pg-webhooks-serve.1",
        "root/share/man/man1/pg-webhooks.1",
        concat!("root/share/postgresql/extension/pg_webhooks--", env!("CARGO_PKG_VERSION"), ".sql"),
        "root/share/postgresql/extension/pg_webhooks.control",
        "root/share/zsh/site-functions/_pg-webhooks",
    ];
    assert_eq!(old.keys().cloned().collect::<Vec<_>>(), expected.map(|name| place.path(name)));

    place.make("install");
    for (path, file) in &place.installed() {
        assert_eq!(inode(file), inode(&old[path]), "a second run does nothing to {path:?}");
    }

    place.build("another");
    place.make("install");
    let mut new = place.installed();
    assert_eq!(new.len(), old.len(), "nothing is left beside them: {:?}", new.keys());
    for (path, old) in old {
        let new = new.remove(&path).unwrap_or_else(|| panic!("{path:?}"));
        assert_ne!(inode(&new), inode(&old), "{path:?}");
        assert_eq!(old.metadata().expect("it is open").nlink(), 0, "{path:?}");
        let built = ["bin", "lib", "man1", "completions", "site-functions", "vendor_completions.d"];
        let folder = path.parent().and_then(Path::file_name).expect("a folder");
        if built.iter().any(|one| folder == *one) {
            assert!(text(old).contains("one") && text(new).contains("another"), "{path:?}");
        } else {
            assert_eq!(text(old), text(new), "{path:?}");
        }
    }

    place.make("uninstall");
    assert!(place.installed().is_empty());
}
