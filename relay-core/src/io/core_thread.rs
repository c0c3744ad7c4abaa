//! Where a core runs: a thread and a runtime of its own; in a simulation a task among those of its process. Must never know what a
//! core does.

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::core;
use super::listening::ListeningSocket;
use super::shared::{Command, Shared};

#[cfg(not(feature = "simulation"))]
pub(crate) use real::{CoreThread, start};
#[cfg(feature = "simulation")]
pub(crate) use simulated::{CoreThread, start};

#[cfg_attr(feature = "simulation", expect(dead_code, reason = "a simulation has no threads"))]
mod real {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::super::{affinity, death, gather};
    use super::*;

    /// A core that runs, or has ended.
    pub(crate) type CoreThread = std::thread::JoinHandle<()>;

    /// Starts a core, on this CPU if that is wished. `listeners` are for the core that accepts.
    ///
    /// # Errors
    /// What the operating system says of one more thread.
    pub(crate) fn start(
        number: usize,
        cpu: Option<usize>,
        shared: Arc<Shared>,
        inbox: mpsc::Receiver<Command>,
        listeners: Vec<ListeningSocket>,
    ) -> io::Result<CoreThread> {
        std::thread::Builder::new().name(format!("relay-core-{number}")).spawn(move || {
            if let Some(cpu) = cpu {
                affinity::pin(cpu);
            }
            run(number, shared, inbox, listeners);
        })
    }

    fn run(
        number: usize,
        shared: Arc<Shared>,
        inbox: mpsc::Receiver<Command>,
        listeners: Vec<ListeningSocket>,
    ) {
        gather::begin(shared.gather_pause);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park(gather::before_wait)
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                death::announce(&shared, number, format!("its runtime cannot start: {error}"));
                return death::settle(&shared, number);
            }
        };
        let tasks = LocalSet::new();
        let ended = catch_unwind(AssertUnwindSafe(|| {
            tasks.block_on(&runtime, core::work(number, Arc::clone(&shared), inbox, listeners))
        }));
        let died = match ended {
            Ok(ended) => ended.err(),
            Err(panic) => Some(format!("it has panicked: {}", death::words(&*panic))),
        };
        if let Some(why) = &died {
            death::announce(&shared, number, why.clone());
        }
        // Connections are closed, and what its tasks held is counted as given up.
        drop(tasks);
        if died.is_some() {
            death::settle(&shared, number);
        }
        // A name that is being resolved, or a file on a disk that hangs, must not hold the end up: their threads are left alone.
        runtime.shutdown_background();
    }
}

#[cfg(feature = "simulation")]
mod simulated {
    use super::super::death;
    use super::super::simulation::inherit;
    use super::*;

    /// A core that runs, or has ended.
    #[derive(Debug)]
    pub(crate) struct CoreThread(tokio::task::JoinHandle<()>);

    impl CoreThread {
        pub(crate) fn is_finished(&self) -> bool {
            self.0.is_finished()
        }

        /// A task that has said that it is done needs no waiting for.
        pub(crate) fn join(self) -> Result<(), ()> {
            drop(self.0);
            Ok(())
        }
    }

    /// Starts a core as a task with a `LocalSet` of its own, in that of its process: it ends with the process.
    #[expect(clippy::unnecessary_wraps, reason = "a thread can fail to start")]
    pub(crate) fn start(
        number: usize,
        _: Option<usize>,
        shared: Arc<Shared>,
        inbox: mpsc::Receiver<Command>,
        listeners: Vec<ListeningSocket>,
    ) -> io::Result<CoreThread> {
        Ok(CoreThread(tokio::task::spawn_local(inherit(async move {
            let tasks = LocalSet::new();
            let ended = tasks.run_until(core::work(number, Arc::clone(&shared), inbox, listeners)).await;
            drop(tasks);
            if let Err(why) = ended {
                death::announce(&shared, number, why);
                death::settle(&shared, number);
            }
        }))))
    }
}
