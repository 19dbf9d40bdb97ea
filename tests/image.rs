//! What the image holds, run as a container runtime would: in a root with nothing but the program, four devices and what a kubelet mounts, as user
//! 65532 without capabilities, in a network namespace. Run by ./test after `deploy/image/build --arch amd64`, which makes its
//! release build.
#![allow(clippy::unwrap_used, reason = "a world that cannot be built is a failure")]
mod common;

use common::{Checked, DNS, ENDPOINT, World};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program that deploy/image/build made for this machine.
fn program() -> PathBuf {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist").join(arch).join("guardprobe");
    assert!(path.exists(), "{} is not there: run deploy/image/build --arch {arch} --binary-only", path.display());
    path
}

/// A root with the program, the kubelet's resolv.conf, and those files.
fn root(world: &World, files: &[(&str, &str)]) -> PathBuf {
    let root = PathBuf::from(world.file("beside", "")).with_file_name("root");
    fs::create_dir_all(root.join("etc/guardprobe")).unwrap();
    fs::copy(program(), root.join("guardprobe")).unwrap();
    let search = "default.svc.cluster.local svc.cluster.local cluster.local";
    fs::write(root.join("etc/resolv.conf"), format!("nameserver {DNS}\nsearch {search}\noptions ndots:5\n")).unwrap();
    // What every runtime puts into every container (OCI runtime specification, default devices).
    fs::create_dir_all(root.join("dev")).unwrap();
    for (device, minor) in [("null", "3"), ("zero", "5"), ("random", "8"), ("urandom", "9")] {
        let path = root.join("dev").join(device);
        assert!(Command::new("mknod").args(["-m", "666"]).arg(path).args(["c", "1", minor]).status().unwrap().success());
    }
    for (path, content) in files {
        fs::write(root.join("etc/guardprobe").join(path), content).unwrap();
    }
    root
}

/// Runs the program there, in the pod's network. There is no /proc and no library.
fn run(world: &World, root: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("ip");
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("KUBERNETES_SERVICE_HOST", "10.96.0.1").env("KUBERNETES_SERVICE_PORT", "443");
    let as_nobody = ["setpriv", "--bounding-set=-all,+sys_chroot,+setuid,+setgid", "--inh-caps=-all", "--no-new-privs"];
    let there = ["unshare", "--setuid", "65532", "--setgid", "65532", "--root"];
    command.args(["netns", "exec", &world.pod()]).args(as_nobody).args(there).arg(root).arg("/guardprobe");
    command.args(args).output().unwrap()
}

const CONFIG: &str = "\
guard: default/deny
timeout: 1100ms
targets:
  - {name: imds, kind: imds, addresses: [\"169.254.169.254:80\"]}
  - {name: kube-api, kind: kube-api, endpointsFile: /etc/guardprobe/endpoints.json, caFile: /etc/guardprobe/ca.crt}
  - {name: vault, kind: tcp, addresses: [\"vault.example:8200\"], proof: weak}
";

#[test]
#[ignore = "needs deploy/image/build"]
fn it_needs_nothing_but_what_a_kubelet_mounts() {
    let world = World::new();
    world.populate();
    world.serve("10.80.0.5:8200", drop);
    let now = String::from_utf8(Command::new("date").args(["-u", "+%FT%TZ"]).output().unwrap().stdout).unwrap();
    let endpoints = format!(r#"{{"revision":"r1","updated":"{}","addresses":["{ENDPOINT}"]}}"#, now.trim());
    let files = [("ca.crt", world.ca.pem()), ("endpoints.json", endpoints), ("guardprobe.yaml", CONFIG.to_owned())];
    let root = root(&world, &files.each_ref().map(|(path, content)| (*path, content.as_str())));
    let check = ["check", "-c", "/etc/guardprobe/guardprobe.yaml", "-o", "json"];
    let open = Checked(run(&world, &root, &check));
    assert_eq!(open.status(), 1, "{}{}", open.stdout(), open.stderr());
    // Without the CA's file it would be "answered", without the resolver "resolve_failed".
    for (target, finding) in
        [("imds", "breached: token_issued"), ("kube-api", "breached: identified"), ("vault", "breached: connected")]
    {
        assert_eq!(open.finding(target), finding, "{}", open.stdout());
    }
    world.guard();
    let shut = Checked(run(&world, &root, &check));
    assert_eq!(shut.status(), 0, "{}{}", shut.stdout(), shut.stderr());
}

#[test]
#[ignore = "needs deploy/image/build"]
fn the_reporter_says_what_it_lacks() {
    let world = World::new();
    let root = root(&world, &[]);
    let output = run(&world, &root, &["reporter", "--guard", "default/deny"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("this is no pod with a service account: expected one of them"), "{said}");
}

#[test]
#[ignore = "needs deploy/image/build"]
fn it_asks_for_no_loader_and_names_no_folder_of_this_machine() {
    let bytes = fs::read(program()).unwrap();
    // ELF64: e_phoff at 32, e_phentsize at 54, e_phnum at 56; a program header of type 3 names a loader.
    let number =
        |at: usize, size: usize| bytes[at..at + size].iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    let types = (0..number(56, 2)).map(|nth| number(number(32, 8) + nth * number(54, 2), 4)).collect::<Vec<_>>();
    assert!(types.contains(&1) && !types.contains(&3), "{types:?}");
    let home = std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME")).unwrap();
    for folder in [env!("CARGO_MANIFEST_DIR"), &format!("{home}/")] {
        assert!(!bytes.windows(folder.len()).any(|window| window == folder.as_bytes()), "it names {folder}");
    }
}

#[test]
#[ignore = "needs deploy/image/build"]
fn it_says_which_revision_it_is() {
    let output = Command::new(program()).arg("--version").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let revision = said.trim().strip_prefix(concat!("guardprobe ", env!("CARGO_PKG_VERSION"), " (revision "));
    assert!(revision.is_some_and(|revision| revision.trim_end_matches(')').len() >= 7), "{said}");
}
