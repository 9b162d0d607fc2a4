//! What runs on its own, whether or not somebody still waits for it: whoever ends a process in good
//! order lets it come to its end before.

use tokio::sync::watch;

/// Counts it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct UnderWay {
    n: watch::Sender<usize>,
}

impl Default for UnderWay {
    fn default() -> Self {
        Self { n: watch::Sender::new(0) }
    }
}

impl UnderWay {
    /// One more, until what is given is dropped.
    #[must_use = "it counts only as long as it is kept"]
    pub fn begin(&self) -> Begun {
        self.n.send_modify(|n| *n += 1);
        Begun(self.clone())
    }

    /// Waits until there is none.
    pub async fn ended(&self) {
        // The sender is ours, so the channel does not close while we wait.
        drop(self.n.subscribe().wait_for(|n| *n == 0).await);
    }
}

/// Something that is under way.
#[derive(Debug)]
pub struct Begun(UnderWay);

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.n.send_modify(|n| *n = n.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_has_ended_when_the_last_has() {
        let under_way = UnderWay::default();
        under_way.ended().await;
        let (one, two) = (under_way.begin(), under_way.begin());
        let waiting = tokio::spawn({
            let under_way = under_way.clone();
            async move { under_way.ended().await }
        });
        tokio::task::yield_now().await;
        drop(one);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(two);
        waiting.await.unwrap();
    }
}
