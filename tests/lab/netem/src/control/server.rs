//! Reads requests from the control socket and hands them to the emulator's loop, which is woken by a
//! byte in a socket pair, so that it waits for packets and requests alike.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::mpsc::{self, Receiver, Sender},
    thread,
};

use super::{Reply, Request};

/// A longer line is no request.
const MAX_LINE: u64 = 64 * 1024;

type Job = (Request, Sender<Reply>);

/// The loop's end: readable when there are requests.
#[derive(Debug)]
pub(crate) struct Requests {
    jobs: Receiver<Job>,
    wake: UnixStream,
}

#[derive(Debug)]
struct Handle {
    jobs: Sender<Job>,
    wake: UnixStream,
}

/// The listening socket. Its threads end with the process.
#[derive(Debug)]
pub(crate) struct Server;

impl Server {
    pub(crate) fn start(path: &Path) -> io::Result<Requests> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        let (sender, jobs) = mpsc::channel();
        let handle = Handle {
            jobs: sender,
            wake: theirs,
        };
        thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || accept(&listener, &handle))?;
        Ok(Requests { jobs, wake: ours })
    }
}

impl Requests {
    pub(crate) fn wake(&self) -> &UnixStream {
        &self.wake
    }

    /// The next request, with where its reply goes.
    pub(crate) fn next(&self) -> Option<Job> {
        let mut bytes = [0; 64];
        // What was written is what was already woken for.
        while matches!((&self.wake).read(&mut bytes), Ok(n) if n > 0) {}
        self.jobs.try_recv().ok()
    }
}

fn accept(listener: &UnixListener, handle: &Handle) {
    for stream in listener.incoming() {
        let (Ok(stream), Ok(wake)) = (stream, handle.wake.try_clone()) else {
            continue;
        };
        let handle = Handle {
            jobs: handle.jobs.clone(),
            wake,
        };
        // A thread that cannot be had is a connection that closes.
        let _ = thread::Builder::new()
            .name("control-client".to_owned())
            .spawn(move || serve(stream, &handle));
    }
}

/// One connection, to its end. An error on it is its peer's to see.
fn serve(stream: UnixStream, handle: &Handle) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if (&mut reader).take(MAX_LINE).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let reply = match serde_json::from_str::<Request>(&line) {
            Ok(request) => ask(handle, request),
            Err(error) => Reply::Error {
                error: error.to_string(),
            },
        };
        let mut line = serde_json::to_string(&reply)?;
        line.push('\n');
        writer.write_all(line.as_bytes())?;
    }
}

fn ask(handle: &Handle, request: Request) -> Reply {
    let (sender, reply) = mpsc::channel();
    let ended = || Reply::Error {
        error: "the emulator is ending".to_owned(),
    };
    if handle.jobs.send((request, sender)).is_err() {
        return ended();
    }
    // A full pair means that the loop is already woken.
    let _ = (&handle.wake).write(&[1]);
    reply.recv().unwrap_or_else(|_| ended())
}
