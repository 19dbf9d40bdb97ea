//! The floor of the bench: what connecting costs on tokio when nothing else is done. Every interval one connect to each address, all at
//! once, each waited for at most the timeout. No metrics, no server, no controls, no history.
//!
//! `floor INTERVAL_MS TIMEOUT_MS ADDRESS…`; it prints a line after its first round, then the number of each round that is a multiple of 50.
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut args = std::env::args().skip(1);
    let mut milliseconds =
        || Duration::from_millis(args.next().and_then(|text| text.parse().ok()).expect("a number of milliseconds"));
    let (period, budget) = (milliseconds(), milliseconds());
    let addresses: Vec<SocketAddr> = args.map(|text| text.parse().expect("an address with a port")).collect();
    let mut tick = interval(period);
    for round in 1u64.. {
        tick.tick().await;
        let connects = addresses
            .iter()
            .map(|address| async move { matches!(timeout(budget, TcpStream::connect(address)).await, Ok(Ok(_))) });
        let connected = futures_util::future::join_all(connects).await.into_iter().filter(|connected| *connected).count();
        if round == 1 || round.is_multiple_of(50) {
            println!("{round} {connected}");
        }
    }
}
