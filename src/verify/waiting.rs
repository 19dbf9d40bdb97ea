//! What a person sees while verify waits: a bar on a terminal, a line now and then elsewhere. Gone when dropped.
use crate::process::terminal;
use crate::show::clean;
use crate::show::verify::some_of;
use guardprobe_core::judge::verify::Progress;
use guardprobe_core::model::verified::Spot;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// How far apart plain lines are, in looks.
const EVERY: u32 = 10;

pub(super) struct Waiting {
    bar: Option<ProgressBar>,
    looks: u32,
}

impl Waiting {
    pub(super) fn begin() -> Self {
        Waiting { bar: terminal::takes_escapes().then(bar), looks: 0 }
    }

    /// What it waits for before it can begin.
    pub(super) fn say(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(clean(text)),
            // What is over in a moment is told by the end.
            None => self.now_and_then(3, || terminal::say(&clean(text))),
        }
    }

    pub(super) fn progress<'s>(
        &mut self,
        progress: Progress,
        waiting: impl Iterator<Item = (&'s Spot, Option<&'s str>)>,
        left: Duration,
    ) {
        let name = |(spot, doubt): (&Spot, Option<&str>)| match doubt {
            Some(doubt) => format!("{} ({doubt})", spot.node),
            None => spot.node.clone(),
        };
        let names: Vec<String> = waiting.map(name).collect();
        let names = some_of(&names).unwrap_or_default();
        match &self.bar {
            Some(bar) => {
                bar.set_length(progress.expected as u64);
                bar.set_position(progress.settled as u64);
                bar.set_message(format!("{} s left, waiting for {names}", left.as_secs()));
            }
            None => self.now_and_then(0, || {
                terminal::say(&format!(
                    "{} of {} have answered; waiting for {names} ({} s left)",
                    progress.settled,
                    progress.expected,
                    left.as_secs()
                ));
            }),
        }
    }

    /// Says it at that look, and each so many later.
    fn now_and_then(&mut self, first: u32, say: impl FnOnce()) {
        if self.looks % EVERY == first {
            say();
        }
        self.looks += 1;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{pos:>5} of {len} {bar:20} {wide_msg}") {
        bar.set_style(style);
    }
    bar
}
