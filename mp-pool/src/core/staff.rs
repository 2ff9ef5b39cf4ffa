//! How many workers there are: as many as asked for, or fewer while little is to do.

use std::time::Instant;

use super::{Core, Hands, TaskId};

impl Core {
    /// Workers that are to stay.
    fn staff(&self) -> usize {
        self.workers.iter().filter(|hands| (hands.alive && !hands.retiring) || hands.on_its_way).count()
    }

    /// A worker is on its way to a place, or is not any more.
    pub(crate) fn set_on_its_way(&mut self, place: usize, is_on_its_way: bool) {
        self.workers[place].on_its_way = is_on_its_way;
    }

    /// Whether there are more workers than there should be.
    pub(crate) fn is_overstaffed(&self) -> bool {
        self.staff() > self.rules.processes
    }

    /// How many workers there should be now.
    fn wanted(&self) -> usize {
        let all = self.rules.processes;
        if self.rules.idle_timeout.is_none() {
            return all;
        }
        let staff = self.staff();
        let is_free = |hands: &&Hands| (hands.alive && hands.held.is_empty()) || hands.on_its_way;
        let idle = self.workers.iter().filter(is_free).count();
        let called = self.queue.len().saturating_sub(idle);
        (staff + called).max(self.rules.least).min(all)
    }

    /// A place for a new worker, if there should be one.
    pub(crate) fn vacancy(&self) -> Option<usize> {
        if self.broken.is_some() || (self.closed && !self.has_work()) || self.staff() >= self.wanted() {
            return None;
        }
        self.workers.iter().position(|hands| !hands.alive && !hands.on_its_way)
    }

    /// Sets how many workers there are to be. Those there are too many of get no more
    /// tasks, the idle first.
    pub(crate) fn resize(&mut self, processes: usize) {
        self.rules.processes = processes;
        self.rules.least = self.rules.least.min(processes);
        let mut by_load: Vec<usize> = (0..self.workers.len()).filter(|at| self.workers[*at].alive).collect();
        by_load.sort_by_key(|place| std::cmp::Reverse(self.workers[*place].held.len()));
        for (rank, place) in by_load.iter().enumerate() {
            self.workers[*place].retiring = rank >= processes;
        }
        if self.workers.len() < processes {
            self.workers.resize_with(processes, Hands::default);
        }
    }

    /// A worker is to get no more tasks, and to leave.
    pub(crate) fn retire(&mut self, worker: usize) {
        self.workers[worker].retiring = true;
    }

    /// Divides a task that has more items than its worker may still run; the rest goes to
    /// the front of the queue.
    pub(crate) fn fit(&mut self, worker: usize, id: TaskId) {
        let Some(most) = self.rules.tasks_per_child else { return };
        let left = most.saturating_sub(self.workers[worker].items);
        let Some(task) = self.tasks.get_mut(&id) else { return };
        // With handles, an item is alone.
        if left == 0 || task.items <= left || task.packet.handle_count() > 0 {
            return;
        }
        let (job, suspect) = (task.job, task.suspect);
        let mut rest = task.range(left, task.items);
        *task = task.range(0, left);
        let of_rest = |suspect: &(usize, u32)| suspect.0 >= rest.index;
        (rest.suspect, task.suspect) = (suspect.filter(of_rest), suspect.filter(|it| !of_rest(it)));
        self.jobs.change(job, |job| job.open += 1);
        self.put_in_front(rest);
    }

    /// How many places for workers there are.
    pub(crate) fn places(&self) -> usize {
        self.workers.len()
    }

    /// When the first idle worker has been idle for so long that it is to leave.
    pub(crate) fn next_leave(&self) -> Option<Instant> {
        let timeout = self.rules.idle_timeout?;
        if self.staff() <= self.rules.least {
            return None;
        }
        let idle = self.workers.iter().filter(|hands| hands.alive && hands.held.is_empty());
        idle.filter_map(|hands| hands.idle_since?.checked_add(timeout)).min()
    }

    /// Workers that are to leave, and hold nothing: each once.
    pub(crate) fn take_leavers(&mut self) -> Vec<usize> {
        let mut leavers = self.take_spent();
        let Some(timeout) = self.rules.idle_timeout else { return leavers };
        let now = Instant::now();
        let mut surplus = self.staff().saturating_sub(self.rules.least);
        for (place, hands) in self.workers.iter_mut().enumerate() {
            let idle = hands.idle_since.is_some_and(|since| now.saturating_duration_since(since) >= timeout);
            if surplus > 0 && idle && hands.alive && !hands.retiring && hands.held.is_empty() {
                surplus -= 1;
                hands.alive = false;
                leavers.push(place);
            }
        }
        leavers
    }
}
