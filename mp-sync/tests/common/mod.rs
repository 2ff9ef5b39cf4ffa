//! Children by fork, and numbers by chance.
//!
//! # Safety
//! A forked child runs a closure and leaves by `_exit`. The test programs have one thread of their
//! own; the one that has more forks to see what a child can do then.

#![allow(unsafe_code, dead_code, missing_docs)]

use std::time::{Duration, Instant};

use mp_sync::Event;

pub(crate) const SHORT: Duration = Duration::from_millis(20);
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// A child, killed and reaped when dropped.
#[derive(Debug)]
pub(crate) struct Child(libc::pid_t);

/// Runs `work` in a child, which exits with zero if it comes to its end, with one if it panics.
pub(crate) fn fork(work: impl FnOnce()) -> Child {
    // SAFETY: the child only runs `work`, and the C library lets one of many threads allocate memory.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: the call takes numbers only.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            // Behind the parent, which has to go on beside many children that never sleep.
            // SAFETY: as above.
            unsafe { libc::nice(5) };
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: nothing of the parent's is to be run on the way out.
            unsafe { libc::_exit(i32::from(result.is_err())) }
        }
        pid => {
            assert!(pid > 0, "fork: {}", std::io::Error::last_os_error());
            Child(pid)
        }
    }
}

impl Child {
    /// Kills and reaps it; whether that was its end, and it had not come to one by itself.
    ///
    /// # Panics
    /// If it has panicked before.
    pub(crate) fn kill(mut self) -> bool {
        self.signal();
        let status = self.reap();
        let has_panicked = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) != 0;
        assert!(!has_panicked, "a child has panicked");
        libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL
    }

    /// The system's id of it.
    pub(crate) fn id(&self) -> libc::pid_t {
        self.0
    }

    /// Kills it, and leaves it to be reaped.
    pub(crate) fn signal(&self) {
        // SAFETY: the id is of a child of ours that has not been reaped.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
    }

    /// Has it run the handler that it gave to [`on_interrupt`].
    pub(crate) fn interrupt(&self) {
        // SAFETY: the id is of a child of ours that has not been reaped.
        unsafe { libc::kill(self.0, libc::SIGUSR1) };
    }

    /// Stops it where it is; returns when it has stopped.
    pub(crate) fn stop(&self) {
        let mut status = 0;
        // SAFETY: the id is of a child of ours that has not been reaped; the call writes the status.
        unsafe {
            libc::kill(self.0, libc::SIGSTOP);
            libc::waitpid(self.0, &raw mut status, libc::WUNTRACED);
        }
        assert!(libc::WIFSTOPPED(status), "it has ended before");
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        // SAFETY: as above.
        unsafe { libc::kill(self.0, libc::SIGCONT) };
    }

    /// Whether it has ended, and can be reaped at once.
    pub(crate) fn has_ended(&self) -> bool {
        // SAFETY: zeros are a value of it, which the call writes.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: as above.
        unsafe { libc::waitid(libc::P_PID, self.0 as libc::id_t, &raw mut info, options) };
        // SAFETY: the field is there for a child that has ended, and zero else.
        unsafe { info.si_pid() != 0 }
    }

    /// Waits for its end; whether it came to the end of its work.
    pub(crate) fn join(mut self) -> bool {
        let status = self.reap();
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
    }

    /// Whether it runs, or would if it had a processor.
    pub(crate) fn is_runnable(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        matches!(state, Some('R' | 'D'))
    }

    /// How often it has gone to sleep so far.
    pub(crate) fn times_awoken(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap_or_default();
        let number = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        number.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    }

    /// How long so far it could have gone on, and had no processor.
    pub(crate) fn starved(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/schedstat", self.0)).unwrap_or_default();
        let nanos = stat.split_whitespace().nth(1).and_then(|nanos| nanos.parse().ok());
        Duration::from_nanos(nanos.unwrap_or(0))
    }

    fn reap(&mut self) -> i32 {
        let mut status = 0;
        // SAFETY: the call writes the status.
        unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        self.0 = 0;
        status
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.0 > 0 {
            self.signal();
            self.reap();
        }
    }
}

/// Says that a child has come so far, and waits for the end.
pub(crate) fn arrive(flag: &Event) -> ! {
    flag.set();
    loop {
        std::thread::sleep(LONG);
    }
}

/// A child that runs `work` up to the end of it and then waits to be killed.
pub(crate) fn child_that<'a>(work: impl FnOnce(&Event) + 'a) -> Child {
    let ready = Event::new().unwrap();
    let child = fork(|| {
        work(&ready);
        arrive(&ready)
    });
    ready.wait_timeout(LONG).expect("the child comes so far");
    child
}

/// Has `handler` run in this process whenever it is interrupted.
pub(crate) fn on_interrupt(handler: extern "C" fn(libc::c_int)) {
    // SAFETY: zeros are a value of the structure; the handlers of the tests do only what one may.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
    }
}

/// How many handles this process has.
pub(crate) fn count_handles() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Ends this process, should it still run after so many seconds.
pub(crate) fn end_after(seconds: u32) {
    // SAFETY: the default action of the signal ends it.
    unsafe { libc::alarm(seconds) };
}

/// Takes from this process all but so many handles.
pub(crate) fn limit_handles(handles: u64) {
    let limit = libc::rlimit { rlim_cur: handles, rlim_max: handles };
    // SAFETY: the call reads a structure that lives as long as it lasts.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}

/// Takes from this process what root may, and all but so many handles.
pub(crate) fn become_nobody(handles: u64) {
    limit_handles(handles);
    // SAFETY: the calls take numbers only.
    unsafe {
        if libc::geteuid() == 0 {
            assert_eq!(libc::setuid(65_534), 0);
        }
    }
}

/// Xorshift: the same numbers for the same seed.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

/// The seed of this run.
pub(crate) fn seed() -> u64 {
    let set = std::env::var("MP_TESTKIT_SEED").ok().and_then(|seed| seed.parse().ok());
    set.unwrap_or_else(|| u64::from(std::process::id()) ^ Instant::now().elapsed().subsec_nanos() as u64)
}

/// Does nothing for about so long, on the CPU where it is short.
pub(crate) fn pause(time: Duration) {
    if time > Duration::from_micros(60) {
        return std::thread::sleep(time);
    }
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

/// Waits until `done`, for at most half a minute.
pub(crate) fn eventually(what: &str, done: impl Fn() -> bool) {
    let until = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < until, "{what}: not within {LONG:?}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Runs the tests one after the other, those whose name contains the first argument.
pub(crate) fn run(tests: &[(&str, fn())]) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return;
    }
    let filter = arguments.first().filter(|argument| !argument.starts_with('-')).map_or("", String::as_str);
    let mut passed = 0;
    for (name, test) in tests.iter().filter(|(name, _)| name.contains(filter)) {
        let begun = Instant::now();
        end_after(120);
        test();
        println!("test {name} ... ok ({:.2} s)", begun.elapsed().as_secs_f64());
        passed += 1;
    }
    end_after(0);
    let others = tests.len() - passed;
    println!("test result: ok. {passed} passed; 0 failed; 0 ignored; 0 measured; {others} filtered out");
}
