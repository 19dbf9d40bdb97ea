//! Agents that are none, and what they cost the reporter and whoever looks at its page. Figures go to standard output.
use crate::common::cluster::{Cluster, FLEET, get_in, guard_namespace, serve_in};
use crate::common::facts::{cpu, memory, within};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);

fn hostile(cluster: &Cluster, nth: u8, handler: impl Fn(TcpStream) + Send + Sync + 'static) {
    let node = cluster.node(nth);
    serve_in(&node.pod(), SocketAddr::from(([0, 0, 0, 0], 9797)), handler);
}

fn node_page(node: &str) -> String {
    format!("/node?guard={}%2Fdeny&node={node}", guard_namespace())
}

#[test]
fn agents_that_never_stop_or_never_answer_delay_nobody() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let _agent = node.agent();
    hostile(&cluster, 2, |mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        while stream.write_all(&b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100)).is_ok() {}
    });
    (3..=5).for_each(|nth| hostile(&cluster, nth, |_stream| sleep(Duration::from_secs(60))));
    let reporter = cluster.reporter();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    sleep(Duration::from_secs(2));
    let (before, began) = (cpu(reporter.pid()), Instant::now());
    sleep(Duration::from_secs(5));
    let share = 100.0 * (cpu(reporter.pid()) - before) / began.elapsed().as_secs_f64();
    println!("beside an endless 100 Continue the reporter takes {share:.1} % of a CPU");
    assert!(share < 5.0, "{share}");
    // The page of an honest node, while others look at three that do not answer.
    let hub = cluster.hub();
    let slow: Vec<_> = (3..=5)
        .map(|nth| {
            let hub = hub.clone();
            std::thread::spawn(move || get_in(&hub, FLEET, &node_page(&format!("node-{nth}"))))
        })
        .collect();
    sleep(Duration::from_millis(200));
    let asked = Instant::now();
    let (status, page) = cluster.try_get(FLEET, &node_page("node-1")).unwrap();
    let took = asked.elapsed();
    println!("the page of an honest node took {took:?} beside three slow ones");
    assert!(status == 200 && page.contains("169.254.169.254:80") && took < Duration::from_millis(1500), "{status} {took:?}");
    for page in slow {
        let (status, page) = page.join().unwrap().unwrap();
        assert!(status == 200 && page.contains("did not answer within 2 s"), "{page}");
    }
}

#[test]
fn a_page_of_a_hostile_node_costs_little_memory_however_slowly_it_is_read() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let _agent = node.agent();
    let reporter = cluster.reporter();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    // What an agent says, with as much in it as is read.
    let report = get_in(&cluster.hub(), &format!("{}:9797", node.ip()), "/v1/report").unwrap().1;
    let mut report: Value = serde_json::from_str(&report).unwrap();
    report["pod"] = Value::Null;
    let usual = report.to_string().len();
    report["targets"][0]["why"] = "\u{7f}".repeat(1024 * 1024 - 4096 - usual).into();
    let body = Arc::new(report.to_string());
    hostile(&cluster, 2, move |mut stream| {
        while stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
            if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).is_err() {
                break;
            }
        }
    });
    cluster.until_row("node-2", SOON, &["covered", "imds blocked"]);
    let usual = memory(reporter.pid(), "RssAnon");
    // Four readers that read nothing of it, and one who looks again and again.
    let hub = cluster.hub();
    let slow: Vec<TcpStream> = (0..4)
        .map(|_| {
            crate::common::inside(&hub, || {
                let mut stream = TcpStream::connect(FLEET).unwrap();
                stream.write_all(format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", node_page("node-2")).as_bytes()).unwrap();
                stream
            })
        })
        .collect();
    for _ in 0..8 {
        let (status, page) = cluster.try_get(FLEET, &node_page("node-2")).unwrap();
        assert!(status == 200 && page.contains("The newest round") && page.len() < 100_000, "{status}: {} bytes", page.len());
        sleep(Duration::from_millis(500));
    }
    within(SOON, "the reporter looks at all nodes", || {
        let covered = cluster.row("node-1");
        if covered.first().is_some_and(|known| known == "covered") { Ok(()) } else { Err(format!("{covered:?}")) }
    });
    let (anon, peak) = (memory(reporter.pid(), "RssAnon"), memory(reporter.pid(), "VmHWM"));
    println!("RssAnon {usual:.1} MiB before, {anon:.1} MiB beside a hostile page, peak of all {peak:.1} MiB");
    assert!(anon < 60.0 && peak < 100.0, "{anon} {peak}");
    drop(slow);
}

/// The reporter writes both streams to a pipe that is full and that nobody reads: it looks after its fleet all the same, and ends when asked.
#[test]
fn a_reporter_whose_output_nobody_reads_goes_on_and_ends() {
    let cluster = Cluster::new();
    let node = cluster.node(1);
    let _agent = node.agent();
    let path = cluster.folder.join("full");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut pipe = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let size = nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    pipe.write_all(&vec![b'\n'; size.try_into().unwrap()]).unwrap();
    let script = format!("exec \"$0\" \"$@\" >{0} 2>{0}", path.display());
    let mut reporter = cluster.reporter_under(&["sh", "-c", &script]);
    cluster.until_ready();
    cluster.until_row("node-1", SOON, &["covered", "imds blocked"]);
    node.unguard();
    cluster.until_told(SOON, &["EgressBreached node-1 imds"]);
    let lost = |stream| cluster.metrics().value("guardprobe_reporter_lines_lost_total", &[("stream", stream)]);
    assert_eq!([lost("stdout"), lost("stderr")], [0.0, 0.0], "a few lines are kept");
    reporter.signal(nix::sys::signal::Signal::SIGTERM);
    let asked = Instant::now();
    assert_eq!(reporter.status(), 0);
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
}
