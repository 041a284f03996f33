//! Looks for rows by a key that are made together: whoever looks while two statements are underway waits until one of them is
//! answered, and goes with all who wait then, in one statement.
//!
//! For PostgreSQL, where the way to the database and back costs ten times what it does for one row more in the same
//! statement. Who comes alone doesn't wait, and nobody waits for a clock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::gate::Inside;
use crate::fault::Fault;

/// Statements that may be on their way at once: a second, so that one that is slow doesn't hold everybody up.
const UNDERWAY: usize = 2;
/// Keys of one statement at the most.
pub(super) const MOST: usize = 32;

/// What a statement found, by key; what isn't there was not found.
pub(super) type Found<T> = HashMap<String, T>;

/// Those who look.
#[derive(Debug)]
pub(super) struct JointLooks<T> {
    queue: Mutex<Queue<T>>,
}

#[derive(Debug)]
struct Queue<T> {
    waiting: Vec<Look<T>>,
    underway: usize,
}

#[derive(Debug)]
struct Look<T> {
    key: String,
    answer: oneshot::Sender<Result<Option<T>, Fault>>,
    /// As long as it waits, whether or not whoever looks is still there.
    _inside: Option<Inside>,
}

impl<T> Default for JointLooks<T> {
    fn default() -> Self {
        Self { queue: Mutex::new(Queue { waiting: Vec::new(), underway: 0 }) }
    }
}

impl<T> JointLooks<T> {
    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone + Send + 'static> JointLooks<T> {
    /// What has this key. `ask` makes a statement for these different keys, [`MOST`] at the most, and must come to an end;
    /// which of those who wait brought it doesn't matter.
    ///
    /// # Errors
    /// That of the statement, for all who went with it.
    pub(super) async fn find<F>(self: &Arc<Self>, key: &str, inside: Option<Inside>, ask: F) -> Result<Option<T>, Fault>
    where
        F: Fn(Vec<String>) -> BoxFuture<'static, Result<Found<T>, Fault>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        if self.join(Look { key: key.to_owned(), answer, _inside: inside }) {
            let underway = Underway { looks: Arc::clone(self), goes_on: true };
            // By itself: who brought the statement may go away before it is answered, and others wait for it.
            tokio::spawn(underway.serve(ask));
        }
        answered.await.map_err(|_| Fault::broken("a look at the database was given up"))?
    }

    /// Waits from here on; gives whether another statement may set out.
    fn join(&self, look: Look<T>) -> bool {
        let mut queue = self.queue();
        queue.waiting.push(look);
        let may_set_out = queue.underway < UNDERWAY;
        queue.underway += usize::from(may_set_out);
        may_set_out
    }
}

/// One that may make statements, until nobody waits.
struct Underway<T> {
    looks: Arc<JointLooks<T>>,
    goes_on: bool,
}

impl<T: Clone + Send + 'static> Underway<T> {
    async fn serve<F>(mut self, ask: F)
    where
        F: Fn(Vec<String>) -> BoxFuture<'static, Result<Found<T>, Fault>> + Send + 'static,
    {
        while let Some(together) = self.next() {
            let mut keys: Vec<String> = together.iter().map(|look| look.key.clone()).collect();
            keys.sort_unstable();
            keys.dedup();
            let found = ask(keys).await;
            for look in together {
                let answer = match &found {
                    Ok(found) => Ok(found.get(&look.key).cloned()),
                    Err(fault) => Err(fault.again()),
                };
                // Who went away doesn't want the answer.
                let _ = look.answer.send(answer);
            }
        }
    }

    /// Those who wait, the first [`MOST`] of them; where nobody does this one is done.
    fn next(&mut self) -> Option<Vec<Look<T>>> {
        let mut queue = self.looks.queue();
        // Who went away meanwhile needn't be looked for.
        queue.waiting.retain(|look| !look.answer.is_closed());
        if queue.waiting.is_empty() {
            queue.underway -= 1;
            self.goes_on = false;
            return None;
        }
        let most = queue.waiting.len().min(MOST);
        Some(queue.waiting.drain(..most).collect())
    }
}

impl<T> Drop for Underway<T> {
    fn drop(&mut self) {
        if self.goes_on {
            // Broken off, by a defect or because the runtime ends: nobody may wait for it, unless another goes on.
            let mut queue = self.looks.queue();
            queue.underway -= 1;
            if queue.underway == 0 {
                queue.waiting.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;
    use tokio::task::JoinHandle;

    use super::*;

    /// A database that answers when it is told to, and what it was asked.
    #[derive(Debug)]
    struct Slow {
        looks: Arc<JointLooks<String>>,
        asked: Mutex<Vec<Vec<String>>>,
        answers: Semaphore,
    }

    impl Slow {
        fn new() -> Arc<Self> {
            Arc::new(Self { looks: Arc::default(), asked: Mutex::default(), answers: Semaphore::new(0) })
        }

        async fn find(self: Arc<Self>, key: String) -> Result<Option<String>, Fault> {
            let slow = Arc::clone(&self);
            self.looks
                .find(&key, None, move |keys| {
                    let slow = Arc::clone(&slow);
                    Box::pin(async move {
                        slow.asked.lock().unwrap().push(keys.clone());
                        slow.answers.acquire().await.map_err(Fault::broken)?.forget();
                        assert!(!keys.iter().any(|key| key == "defect"), "on purpose");
                        match keys.iter().find(|key| key.contains("broken")) {
                            Some(key) => Err(Fault::Unavailable(key.clone())),
                            None => Ok(keys
                                .into_iter()
                                .filter(|key| key != "nobody")
                                .map(|key| (key.clone(), key))
                                .collect()),
                        }
                    })
                })
                .await
        }

        /// Looks for these, one after the other, without waiting for the answers.
        async fn begin(self: &Arc<Self>, keys: &[&str]) -> Vec<JoinHandle<Result<Option<String>, Fault>>> {
            let mut looks = Vec::new();
            for key in keys {
                looks.push(tokio::spawn(Arc::clone(self).find((*key).to_owned())));
                self.settle().await;
            }
            looks
        }

        fn asked(&self) -> Vec<Vec<String>> {
            self.asked.lock().unwrap().clone()
        }

        /// Lets everybody run who can.
        async fn settle(&self) {
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn who_comes_while_others_look_goes_with_who_waits_then() {
        let slow = Slow::new();
        let looks = slow.begin(&["a", "b", "c", "nobody", "c", "d"]).await;
        assert_eq!(slow.asked(), [["a"], ["b"]]);
        slow.answers.add_permits(1);
        slow.settle().await;
        assert_eq!(slow.asked().last().unwrap(), &["c", "d", "nobody"]);
        slow.answers.add_permits(2);
        let mut found = Vec::new();
        for look in looks {
            found.push(look.await.unwrap().unwrap());
        }
        let some = |key: &str| Some(key.to_owned());
        assert_eq!(found, [some("a"), some("b"), some("c"), None, some("c"), some("d")]);
        // Nobody waits, nothing is underway: the next one sets out at once.
        slow.settle().await;
        slow.answers.add_permits(1);
        assert_eq!(Arc::clone(&slow).find("e".to_owned()).await.unwrap(), some("e"));
        assert_eq!(slow.asked().last().unwrap(), &["e"]);
        assert_eq!(slow.looks.queue().underway, 0);
    }

    #[tokio::test]
    async fn no_statement_has_more_keys_than_it_may() {
        let slow = Slow::new();
        let looks: Vec<_> =
            (0..200).map(|number| tokio::spawn(Arc::clone(&slow).find(format!("key {number}")))).collect();
        slow.answers.add_permits(200);
        for (number, look) in looks.into_iter().enumerate() {
            assert_eq!(look.await.unwrap().unwrap(), Some(format!("key {number}")));
        }
        assert!(slow.asked().iter().all(|keys| keys.len() <= MOST), "{:?}", slow.asked());
    }

    #[tokio::test]
    async fn a_fault_is_told_to_all_who_went_with_it_and_to_nobody_else() {
        let slow = Slow::new();
        let looks = slow.begin(&["a", "b", "broken", "c"]).await;
        slow.answers.add_permits(3);
        let mut outcomes = Vec::new();
        for look in looks {
            outcomes.push(look.await.unwrap());
        }
        assert!(outcomes[..2].iter().all(Result::is_ok), "{outcomes:?}");
        assert!(outcomes[2..].iter().all(|outcome| matches!(outcome, Err(Fault::Unavailable(_)))), "{outcomes:?}");
    }

    #[tokio::test]
    async fn who_brought_a_statement_may_go_away() {
        let slow = Slow::new();
        let mut looks = slow.begin(&["a", "a", "b"]).await;
        looks.remove(0).abort();
        slow.answers.add_permits(3);
        for (look, key) in looks.into_iter().zip(["a", "b"]) {
            assert_eq!(look.await.unwrap().unwrap(), Some(key.to_owned()));
        }
    }

    #[tokio::test]
    async fn who_waits_and_goes_away_is_not_looked_for() {
        let slow = Slow::new();
        let mut looks = slow.begin(&["a", "b", "gone", "c"]).await;
        looks.remove(2).abort();
        slow.settle().await;
        slow.answers.add_permits(3);
        for look in looks {
            assert!(look.await.unwrap().unwrap().is_some());
        }
        assert_eq!(slow.asked(), [["a"], ["b"], ["c"]]);
    }

    #[tokio::test]
    async fn a_defect_leaves_nobody_waiting() {
        let slow = Slow::new();
        let looks = slow.begin(&["defect", "a", "b"]).await;
        // The other one takes along who waits.
        slow.answers.add_permits(3);
        let mut outcomes = Vec::new();
        for look in looks {
            outcomes.push(look.await.unwrap());
        }
        assert!(matches!(outcomes[0], Err(Fault::Broken(_))), "{outcomes:?}");
        assert!(outcomes[1..].iter().all(Result::is_ok), "{outcomes:?}");
        slow.settle().await;
        assert_eq!(slow.looks.queue().underway, 0);

        // Where both break, nobody is left to serve those who wait.
        slow.answers.forget_permits(usize::MAX);
        let looks = slow.begin(&["defect", "defect", "c"]).await;
        slow.answers.add_permits(2);
        for look in looks {
            assert!(matches!(look.await.unwrap(), Err(Fault::Broken(_))));
        }
        slow.answers.add_permits(1);
        assert_eq!(Arc::clone(&slow).find("d".to_owned()).await.unwrap(), Some("d".to_owned()));
    }
}
