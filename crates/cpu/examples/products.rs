//! Times products of the shapes of Qwen2.5-1.5B: for each type and number of rows the time that the
//! products of one pass through the model take, the share of the machine's peak, and the tokens a
//! second that these products alone would allow.
//!
//!     cargo run --release -p cpu --example products -- [--json] [--threads N] [--types Q4_K,Q6_K]
//!         [--rows 1,8,50] [--instructions avx512|avxvnni|avx2|portable] [--seconds 0.3] [--cpu-time]
//!
//! `--cpu-time` counts the processor time of all threads, divided by their number, instead of time
//! on the clock: for machines that others use too.
//!
//! `Q4_K_M` is the mixture of a file of that name: `Q6_K` for the head, for half of the down
//! projections and of the values, `Q4_K` elsewhere.

use cpu::{Activations, BlockType, Instructions, Matrix, PANEL};
use std::time::Instant;

const LAYERS: f64 = 28.0;
/// Outputs, inputs, how many of them a layer has.
const LAYER: [(usize, usize, f64); 4] =
    [(1536, 1536, 2.0), (256, 1536, 2.0), (8960, 1536, 2.0), (1536, 8960, 1.0)];
/// An eighth of the head, eight times.
const HEAD: (usize, usize, f64) = (18_992, 1536, 8.0);

struct Options {
    json: bool,
    threads: usize,
    types: Vec<String>,
    rows: Vec<usize>,
    instructions: Instructions,
    seconds: f64,
    cpu_time: bool,
}

impl Options {
    /// Seconds from some start on.
    fn now(&self) -> f64 {
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        if !self.cpu_time {
            return START.elapsed().as_secs_f64();
        }
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is there to be written.
        unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
        (time.tv_sec as f64 + time.tv_nsec as f64 / 1e9) / self.threads as f64
    }
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        json: false,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        types: ["Q4_K_M", "Q4_K", "Q4_0", "Q5_K", "Q6_K", "Q8_0", "BF16", "F32"].map(String::from).to_vec(),
        rows: vec![1, 2, 4, 8, 16, 50, 128, 512],
        instructions: Instructions::best(),
        seconds: 0.3,
        cpu_time: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if name == "--json" {
            options.json = true;
            continue;
        }
        if name == "--cpu-time" {
            options.cpu_time = true;
            continue;
        }
        let value = arguments.next().ok_or(format!("{name} lacks a value"))?;
        let number = |text: &str| text.parse::<usize>().map_err(|error| format!("{name} {text}: {error}"));
        match name.as_str() {
            "--threads" => options.threads = number(&value)?,
            "--types" => options.types = value.split(',').map(String::from).collect(),
            "--rows" => options.rows = value.split(',').map(number).collect::<Result<_, _>>()?,
            "--seconds" => options.seconds = value.parse().map_err(|error| format!("{name}: {error}"))?,
            "--instructions" => {
                let find = |set: &Instructions| format!("{set:?}").to_lowercase() == value;
                options.instructions =
                    Instructions::ALL.into_iter().find(find).ok_or(format!("unknown {value}"))?;
            }
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(options)
}

/// What the machine can do with all threads at once.
struct Peak {
    /// Bytes a second of one long read.
    memory: f64,
    /// Operations a second of integer products, two for each product.
    integers: f64,
    /// Likewise in single precision.
    floats: f64,
}

/// Runs `work` on each thread at once, and gives the seconds until all have ended.
fn on_all(options: &Options, work: impl Fn(usize) + Sync) -> f64 {
    let (threads, start) = (options.threads, options.now());
    std::thread::scope(|scope| {
        (0..threads).for_each(|thread| {
            drop(scope.spawn({
                let work = &work;
                move || work(thread)
            }))
        })
    });
    options.now() - start
}

fn best(times: usize, mut run: impl FnMut() -> f64) -> f64 {
    (0..times).map(|_| run()).fold(f64::INFINITY, f64::min)
}

fn peak(options: &Options) -> Peak {
    let threads = options.threads;
    let data = vec![1u64; 48 << 20];
    let part = data.len() / threads;
    let read = |thread: usize| spin::read(&data[thread * part..(thread + 1) * part]);
    let memory = best(5, || on_all(options, read));
    let turns = 4_000_000;
    let integers = best(3, || on_all(options, |_| spin::integers(turns)));
    let floats = best(3, || on_all(options, |_| spin::floats(turns)));
    let total = (turns * threads) as f64;
    Peak {
        memory: (part * threads * 8) as f64 / memory,
        integers: total * spin::INTEGER_OPERATIONS / integers,
        floats: total * spin::FLOAT_OPERATIONS / floats,
    }
}

/// Loops of independent products in registers, and of reads.
mod spin {
    #[cfg(target_arch = "x86_64")]
    use std::arch::x86_64::{
        _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_reduce_add_epi32, _mm512_reduce_add_ps,
        _mm512_set1_epi32, _mm512_set1_ps,
    };

    pub const INTEGER_OPERATIONS: f64 = 12.0 * 128.0;
    pub const FLOAT_OPERATIONS: f64 = 12.0 * 32.0;

    pub fn read(data: &[u64]) {
        #[cfg(target_arch = "x86_64")]
        if cpu::Instructions::Avx512.is_available() {
            // SAFETY: the instructions were detected.
            return unsafe { read_avx512(data) };
        }
        std::hint::black_box(read_here(data));
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn read_avx512(data: &[u64]) {
        std::hint::black_box(read_here(data));
    }

    #[inline(always)]
    fn read_here(data: &[u64]) -> [u64; 32] {
        let mut sums = [0u64; 32];
        for block in data.as_chunks::<32>().0 {
            sums.iter_mut().zip(block).for_each(|(sum, x)| *sum ^= x);
        }
        sums
    }

    #[cfg(target_arch = "x86_64")]
    pub fn integers(turns: usize) {
        if cpu::Instructions::Avx512.is_available() {
            // SAFETY: the instructions were detected.
            unsafe { integers_avx512(turns) };
        }
    }

    #[cfg(target_arch = "x86_64")]
    pub fn floats(turns: usize) {
        if cpu::Instructions::Avx512.is_available() {
            // SAFETY: the instructions were detected.
            unsafe { floats_avx512(turns) };
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn integers_avx512(turns: usize) {
        let (a, b) = (_mm512_set1_epi32(std::hint::black_box(3)), _mm512_set1_epi32(5));
        let mut sums = [_mm512_set1_epi32(0); 12];
        for _ in 0..turns {
            sums.iter_mut().for_each(|sum| *sum = _mm512_dpbusd_epi32(*sum, a, b));
        }
        sums.iter().for_each(|sum| {
            std::hint::black_box(_mm512_reduce_add_epi32(*sum));
        });
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn floats_avx512(turns: usize) {
        let (a, b) = (_mm512_set1_ps(std::hint::black_box(1e-3)), _mm512_set1_ps(0.5));
        let mut sums = [_mm512_set1_ps(0.0); 12];
        for _ in 0..turns {
            sums.iter_mut().for_each(|sum| *sum = _mm512_fmadd_ps(a, b, *sum));
        }
        sums.iter().for_each(|sum| {
            std::hint::black_box(_mm512_reduce_add_ps(*sum));
        });
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub fn integers(_: usize) {}
    #[cfg(not(target_arch = "x86_64"))]
    pub fn floats(_: usize) {}
}

/// A matrix of random bits: their values do not matter to the time.
fn matrix(kind: BlockType, outputs: usize, inputs: usize) -> Matrix {
    let bytes = outputs * kind.row_bytes(inputs).unwrap_or_else(|| panic!("{inputs} inputs in {kind:?}"));
    let mut state = 1u64;
    let random = std::array::from_fn::<u8, 65_520, _>(|index| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Below 0x40, so that no scale is infinite or none; in floating point upper bytes that make
        // numbers of the usual size, since subnormal ones take a hundred cycles and more.
        let upper = kind.block_elements() == 1 && index % kind.block_bytes() == kind.block_bytes() - 1;
        if upper { 0x3c + (state >> 62) as u8 } else { (state >> 58) as u8 }
    });
    let bytes: Vec<u8> = random.iter().copied().cycle().take(bytes).collect();
    Matrix::from_bytes(kind, &bytes, outputs, inputs).unwrap_or_else(|error| panic!("{error}"))
}

/// Matrices of one shape that take turns, so that none stays in a cache that a model would not
/// stay in.
struct Shape {
    matrices: Vec<Matrix>,
    /// How many of them a pass through the model multiplies.
    count: f64,
}

fn shape(kind: BlockType, outputs: usize, inputs: usize, count: f64) -> Shape {
    let first = matrix(kind, outputs, inputs);
    // Enough to go beyond what a share of the last cache holds.
    let copies = ((256 << 20) / first.bytes()).clamp(1, 64);
    Shape { matrices: vec![first; copies], count }
}

fn model(name: &str) -> Result<Vec<Shape>, String> {
    let find = |name: &str| {
        let kind = BlockType::ALL.iter().copied().find(|kind| kind.name() == name);
        kind.ok_or(format!("unknown type {name}"))
    };
    if let Some(name) = name.strip_prefix("ffn:") {
        return Ok(vec![shape(find(name)?, 8960, 1536, LAYERS), shape(find(name)?, 1536, 8960, LAYERS)]);
    }
    if name != "Q4_K_M" {
        let kind = find(name)?;
        let layers =
            LAYER.iter().map(|(outputs, inputs, count)| shape(kind, *outputs, *inputs, count * LAYERS));
        return Ok(layers.chain([shape(kind, HEAD.0, HEAD.1, HEAD.2)]).collect());
    }
    let (four, six) = (BlockType::Q4K, BlockType::Q6K);
    Ok(vec![
        shape(four, 1536, 1536, 2.0 * LAYERS),
        shape(four, 256, 1536, 1.5 * LAYERS),
        shape(six, 256, 1536, 0.5 * LAYERS),
        shape(four, 8960, 1536, 2.0 * LAYERS),
        shape(four, 1536, 8960, 0.5 * LAYERS),
        shape(six, 1536, 8960, 0.5 * LAYERS),
        shape(six, HEAD.0, HEAD.1, HEAD.2),
    ])
}

/// Multiplies with every thread having its part of the outputs; gives seconds a product: the fastest,
/// since other programs can only make it slower.
fn time(options: &Options, shape: &Shape, rows: usize) -> f64 {
    let first = &shape.matrices[0];
    let x: Vec<f32> = (0..rows * first.inputs()).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
    let mut activations = Activations::default();
    let mut outs: Vec<_> = ranges(first.outputs(), options.threads).collect();
    let mut out: Vec<Vec<f32>> = outs.iter().map(|range| vec![0.0; range.len() * rows]).collect();
    let mut times = Vec::new();
    let begin = Instant::now();
    for turn in 0.. {
        let matrix = &shape.matrices[turn % shape.matrices.len()];
        let start = options.now();
        match matrix.takes_quantized() {
            true => activations.set_quantized(&x, rows, matrix.inputs()),
            false => activations.set_float(&x, rows, matrix.inputs()),
        }
        let activations = &activations;
        rayon::scope(|scope| {
            for (range, out) in outs.iter_mut().zip(&mut out) {
                scope.spawn(move |_| {
                    let done =
                        matrix.multiply_range_with(options.instructions, activations, range.clone(), out);
                    done.unwrap_or_else(|error| panic!("{error}"));
                });
            }
        });
        times.push(options.now() - start);
        if begin.elapsed().as_secs_f64() > options.seconds && times.len() >= 3 {
            break;
        }
    }
    times.into_iter().fold(f64::INFINITY, f64::min)
}

/// Whole panels for every thread.
fn ranges(outputs: usize, threads: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let size = outputs.div_ceil(PANEL).div_ceil(threads) * PANEL;
    (0..threads).map(move |thread| (thread * size).min(outputs)..((thread + 1) * size).min(outputs))
}

fn main() {
    let options = options().unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(2);
    });
    if let Err(error) = rayon::ThreadPoolBuilder::new().num_threads(options.threads).build_global() {
        eprintln!("{error}");
    }
    let peak = peak(&options);
    if options.json {
        println!(
            "{}",
            serde_json::json!({"threads": options.threads, "memory": peak.memory, "integers": peak.integers,
                "floats": peak.floats, "instructions": format!("{:?}", options.instructions)})
        );
    } else {
        println!(
            "{} threads, {:?}; peak: memory {:.1} GB/s, integers {:.0} Gop/s, single precision {:.0} GFLOP/s",
            options.threads,
            options.instructions,
            peak.memory / 1e9,
            peak.integers / 1e9,
            peak.floats / 1e9
        );
        println!("type    rows    ms a pass    GB/s (peak)   Gop/s (peak)   tokens/s");
    }
    for name in &options.types {
        let shapes = model(name).unwrap_or_else(|error| {
            eprintln!("{error}");
            std::process::exit(2);
        });
        let bytes: f64 = shapes.iter().map(|shape| shape.matrices[0].bytes() as f64 * shape.count).sum();
        let weights: f64 = shapes
            .iter()
            .map(|shape| (shape.matrices[0].outputs() * shape.matrices[0].inputs()) as f64 * shape.count)
            .sum();
        let quantized = shapes[0].matrices[0].takes_quantized();
        let compute = if quantized { peak.integers } else { peak.floats };
        for &rows in &options.rows {
            let seconds: f64 = shapes.iter().map(|shape| time(&options, shape, rows) * shape.count).sum();
            let (read, done) = (bytes / seconds, 2.0 * weights * rows as f64 / seconds);
            let tokens = rows as f64 / seconds;
            if options.json {
                println!(
                    "{}",
                    serde_json::json!({"type": name, "rows": rows, "seconds": seconds, "bytes_a_second": read,
                        "operations_a_second": done, "tokens_a_second": tokens})
                );
            } else {
                println!(
                    "{name:<7} {rows:>4} {:>12.2} {:>7.1} ({:>3.0} %) {:>7.0} ({:>3.0} %) {tokens:>10.1}",
                    seconds * 1e3,
                    read / 1e9,
                    100.0 * read / peak.memory,
                    done / 1e9,
                    100.0 * done / compute
                );
            }
        }
    }
}
