//! What the program says.

use std::io::{self, Write as _};

use polybatch::v1::Batch;

/// A line on stderr. Ids, models and messages come from files and providers, and a terminal would
/// obey what is in them.
pub fn say(text: &str) {
    let shown: String =
        text.chars().map(|char| if is_control(char) { '?' } else { char }).collect();
    // `eprintln` would end the program where nobody reads any more; the batch is still to be watched.
    _ = writeln!(io::stderr(), "{shown}");
}

/// Control characters, and those that change the direction of text or cannot be seen.
fn is_control(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// What goes to stdout: the batch's id, or the usage that was asked for.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}

/// Shows a snapshot where it says more than counts that have moved on.
#[derive(Default)]
pub struct Progress {
    shown: String,
}

impl Progress {
    pub fn show(&mut self, batch: &Batch) {
        let state = batch.state().as_str_name().trim_start_matches("BATCH_STATE_").to_lowercase();
        let percent = format!("{} %", batch.progress_percent.floor());
        let mut reasons: Vec<String> = Vec::new();
        for error in &batch.errors {
            reasons.push(format!("{}: {}", error.code, error.message));
        }
        if let Some(cause) = &batch.common_cause {
            let text = format!("{}: {}", cause.code, cause.message);
            reasons.push(format!("every line failed for one cause: {text}"));
        }
        if !batch.waiting_reason.is_empty() {
            reasons.push(batch.waiting_reason.clone());
        }
        let waiting = batch.shards.iter().filter(|shard| !shard.waiting_reason.is_empty());
        for shard in waiting.take(5) {
            reasons.push(format!("{} waits: {}", shard.model, shard.waiting_reason));
        }
        let news = format!("{state}; {percent}; {}", reasons.join("; "));
        if news == self.shown {
            return;
        }
        self.shown = news;
        let counts = batch.request_counts.unwrap_or_default();
        let unsuccessful = [
            ("failed", counts.failed),
            ("cancelled", counts.cancelled),
            ("expired", counts.expired),
        ];
        let finished = counts.succeeded + unsuccessful.iter().map(|(_, count)| count).sum::<i64>();
        let mut text = format!(
            "{}: {} ({state}), {percent}, {finished} of {} lines",
            batch.id, batch.display_state, counts.total
        );
        for (word, count) in unsuccessful.iter().filter(|(_, count)| *count > 0) {
            text += &format!(", {count} {word}");
        }
        reasons.insert(0, text);
        say(&reasons.join("; "));
    }
}
