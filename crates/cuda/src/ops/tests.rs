//! Each operation against the CPU's, on random numbers that bf16 holds exactly; outputs are filled with
//! what is not a number before, so that one that is not written shows.

use super::*;
use crate::kernels::Shape;
use half::bf16;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use transformer::PackedBatch;
use transformer::ops::rope::RotaryTable;
use transformer::ops::{attention, elementwise, matmul, norm};

mod drawing;
mod head_norms;
mod skinny;

/// The GPU with kernels for a shape, or none: then the test says so and ends.
fn ops(config: &Config) -> Option<Ops> {
    match Gpu::open(0) {
        Ok(gpu) => Some(Ops::new(&gpu, config).expect("kernels")),
        Err(error) if std::env::var_os("NCOMP_TEST_GPU").is_some_and(|value| value == "require") => {
            panic!("{error}")
        }
        Err(error) => {
            eprintln!("skipped: this test needs a GPU: {error}");
            None
        }
    }
}

/// Shapes that meet every special case of the kernels: heads narrower than a matrix instruction, no
/// power of two, groups of one and of seven.
fn shapes() -> Vec<Config> {
    let of = |head_dim, key_heads, group| Config {
        head_dim,
        num_key_value_heads: key_heads,
        num_attention_heads: key_heads * group,
        hidden_size: 200,
        intermediate_size: 328,
        vocab_size: 1003,
        ..Config::tiny()
    };
    vec![of(8, 2, 2), of(32, 3, 1), of(64, 1, 7), of(128, 2, 6)]
}

fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| bf16::from_f32(random.random::<f32>() * 2.0 - 1.0).to_f32()).collect()
}

fn halves(numbers: &[f32]) -> Vec<u16> {
    numbers.iter().map(|&number| bf16::from_f32(number).to_bits()).collect()
}

struct Bench<'a> {
    ops: &'a Ops,
}

impl Bench<'_> {
    fn put(&self, numbers: &[f32]) -> Buffer<u16> {
        self.ops.gpu.upload(&halves(numbers), "a test").expect("room")
    }

    fn put_floats(&self, numbers: &[f32]) -> Buffer<f32> {
        self.ops.gpu.upload(numbers, "a test").expect("room")
    }

    fn put_integers(&self, numbers: &[i32]) -> Buffer<i32> {
        self.ops.gpu.upload(numbers, "a test").expect("room")
    }

    /// Nothing but what is not a number.
    fn poison(&self, count: usize) -> Buffer<u16> {
        self.ops.gpu.upload(&vec![0x7fffu16; count], "a test").expect("room")
    }

    fn poison_floats(&self, count: usize) -> Buffer<f32> {
        self.put_floats(&vec![f32::NAN; count])
    }

    fn get(&self, buffer: &Buffer<u16>) -> Vec<f32> {
        let numbers = self.ops.gpu.read(buffer.view()).expect("numbers");
        numbers.into_iter().map(|bits| bf16::from_bits(bits).to_f32()).collect()
    }

    fn get_floats(&self, buffer: &Buffer<f32>) -> Vec<f32> {
        self.ops.gpu.read(buffer.view()).expect("numbers")
    }
}

/// The relative error by norms is below 1 %, and every number is one.
fn close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let square = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>().sqrt();
    let difference = square(&mut found.iter().zip(expected).map(|(&a, &b)| f64::from(a) - f64::from(b)));
    let norm = square(&mut expected.iter().map(|&x| f64::from(x)));
    let error = difference / norm.max(1e-30);
    assert!(error < 1e-2, "{what}: relative error {error}");
    println!("{what}: relative error {error:.1e}");
}

#[test]
fn matrix_products() {
    let config = Config::tiny();
    let Some(ops) = ops(&config) else { return };
    let (bench, gpu) = (Bench { ops: &ops }, &ops.gpu);
    for (rows, inputs, outputs) in [(1, 64, 128), (77, 200, 328), (300, 1536, 512)] {
        let (x, w) = (random(rows * inputs, 1), random(outputs * inputs, 2));
        let (bias, residual) = (random(outputs, 3), random(rows * outputs, 4));
        let (dx, dw) = (bench.put(&x), bench.put(&w));
        let (dbias, dresidual) = (bench.put(&bias), bench.put(&residual));
        let mut expected = vec![0.0; rows * outputs];
        matmul::linear(&x, &w, Some(&bias), rows, &mut expected);
        let out = bench.poison(rows * outputs);
        gpu.linear(dx.view(), dw.view(), Some(dbias.view()), None, (rows, inputs, outputs), out.view())
            .expect("runs");
        close("linear", &bench.get(&out), &expected);
        matmul::linear(&x, &w, None, rows, &mut expected);
        expected.iter_mut().zip(&residual).for_each(|(out, add)| *out += add);
        gpu.linear(dx.view(), dw.view(), None, Some(dresidual.view()), (rows, inputs, outputs), out.view())
            .expect("runs");
        close("linear with a residual", &bench.get(&out), &expected);

        let gradient = random(rows * outputs, 5);
        let dgradient = bench.put(&gradient);
        let mut expected = vec![0.0; rows * inputs];
        matmul::linear_backward_input(&gradient, &w, rows, false, &mut expected);
        let out = bench.poison(rows * inputs);
        gpu.linear_backward_input(dgradient.view(), outputs, dw.view(), (rows, inputs, outputs), out.view())
            .expect("runs");
        close("gradient of the input", &bench.get(&out), &expected);
        let start = random(outputs * inputs, 6);
        let mut expected = start.clone();
        matmul::linear_backward_weight(&gradient, &x, rows, &mut expected, None);
        let out = bench.put_floats(&start);
        gpu.linear_backward_weight(dgradient.view(), outputs, dx.view(), (rows, inputs, outputs), out.view())
            .expect("runs");
        close("gradient of the weight", &bench.get_floats(&out), &expected);
    }
}

#[test]
fn norms_and_elementwise_operations() {
    for config in shapes() {
        let Some(ops) = ops(&config) else { return };
        let bench = Bench { ops: &ops };
        let (rows, width, wide) = (37, config.hidden_size, config.intermediate_size);
        let (x, gain, slope) = (random(rows * width, 1), random(width, 2), random(rows * width, 3));
        let (mut expected, mut scales) = (vec![0.0; rows * width], vec![0.0; rows]);
        norm::rms_norm(&x, &gain, 1e-6, &mut expected, &mut scales);
        let (dx, dgain, dslope) = (bench.put(&x), bench.put(&gain), bench.put(&slope));
        let (out, scale) = (bench.poison(rows * width), bench.poison_floats(rows));
        ops.rms_norm(dx.view(), dgain.view(), (rows, width), 1e-6, out.view(), scale.view()).expect("runs");
        close("rms_norm", &bench.get(&out), &expected);
        close("rms_norm's scale", &bench.get_floats(&scale), &scales);
        let start = random(rows * width, 4);
        let mut expected = start.clone();
        let gain_gradient = norm::rms_norm_backward(&slope, &x, &gain, &scales, &mut expected);
        let (into, scratch) = (bench.put(&start), bench.poison_floats(ops.norm_parts() * width));
        let dgain_gradient = bench.put_floats(&vec![0.0; width]);
        let sum = Some(dgain_gradient.view());
        let shape = (rows, width);
        ops.rms_norm_backward(
            dslope.view(),
            dx.view(),
            dgain.view(),
            scale.view(),
            shape,
            false,
            into.view(),
            scratch.view(),
            sum,
        )
        .expect("runs");
        close("rms_norm's gradient", &bench.get(&into), &expected);
        close("rms_norm's gain's gradient", &bench.get_floats(&dgain_gradient), &gain_gradient);

        let gate_up = random(rows * 2 * wide, 5);
        let mut expected = vec![0.0; rows * wide];
        elementwise::swiglu(&gate_up, wide, &mut expected);
        let (dgate_up, out) = (bench.put(&gate_up), bench.poison(rows * wide));
        ops.swiglu(dgate_up.view(), rows, wide, out.view()).expect("runs");
        close("swiglu", &bench.get(&out), &expected);
        let slope = random(rows * wide, 6);
        let dslope = bench.put(&slope);
        let mut gradient = gate_up.clone();
        elementwise::swiglu_backward(&mut slope.clone(), wide, &mut gradient);
        ops.swiglu_backward(dgate_up.view(), rows, wide, dslope.view()).expect("runs");
        close("swiglu's gradient", &bench.get(&dgate_up), &gradient);
        close("swiglu's output again", &bench.get(&dslope), &expected);

        let mut sums = random(width, 7);
        let dsums = bench.put_floats(&sums);
        for row in x.chunks_exact(width) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        let scratch = bench.poison_floats(128 * width);
        ops.add_column_sums(dx.view(), rows, width, scratch.view(), dsums.view()).expect("runs");
        close("sums of columns", &bench.get_floats(&dsums), &sums);

        let chosen = [5, 0, 36, 7];
        let numbers = bench.put_integers(&chosen);
        let out = bench.poison(4 * width);
        ops.gather(dx.view(), numbers.view(), 4, width, out.view()).expect("runs");
        let expected: Vec<f32> =
            chosen.iter().flat_map(|&row| &x[row as usize * width..][..width]).copied().collect();
        close("gather", &bench.get(&out), &expected);
        ops.scatter_add(out.view(), numbers.view(), 4, width, dx.view()).expect("runs");
        let mut doubled = x.clone();
        chosen
            .iter()
            .for_each(|&row| doubled[row as usize * width..][..width].iter_mut().for_each(|v| *v *= 2.0));
        close("scatter_add", &bench.get(&dx), &doubled);
        let square: f64 = x.iter().map(|&value| f64::from(value * value)).sum();
        let found = ops.square_sum(bench.put_floats(&x).view()).expect("runs");
        assert!((found / square - 1.0).abs() < 1e-4, "{found} {square}");
    }
}

/// Trees and sequences of lengths on both sides of the kernels' blocks.
fn batch() -> PackedBatch {
    let mut batch = PackedBatch::default();
    batch.push_sequence(&[3; 1]);
    batch.push_sequence(&[5; 130]);
    batch.push_tree(&[7; 70], [&[1u32; 1][..], &[2; 64], &[3; 90]]);
    batch.push_tree(&[9; 64], [&[4u32; 33][..]]);
    batch
}

#[test]
fn rotary_positions_and_attention_over_trees() {
    for config in shapes() {
        let Some(ops) = ops(&config) else { return };
        let bench = Bench { ops: &ops };
        let batch = batch();
        let (rows, width, heads) = (batch.rows(), config.qkv_size(), config.num_attention_heads);
        let device = DeviceBatch::upload(&ops.gpu, &batch).expect("a batch");
        let table = RotaryTable::new(&config.rope_frequencies(), 256);
        let dtable = bench.put_floats(&table.pairs());
        let mut qkv: Vec<f32> = random(rows * width, 1).iter().map(|x| x * 2.0).collect();
        let dqkv = bench.put(&qkv);
        let rotated = heads + config.num_key_value_heads;
        table.rotate(&mut qkv, width, rotated, &batch.positions, false);
        ops.rotate(dqkv.view(), &device, dtable.view(), false).expect("runs");
        close("rotate", &bench.get(&dqkv), &qkv);

        let (mut expected, mut sums) = (vec![0.0; rows * config.query_size()], vec![0.0; rows * heads]);
        attention::attention(&config, &batch, &qkv, &mut expected, &mut sums);
        let (out, log_sum_exp) = (bench.poison(expected.len()), bench.poison_floats(sums.len()));
        ops.attention(&device, dqkv.view(), out.view(), log_sum_exp.view()).expect("runs");
        close("attention", &bench.get(&out), &expected);
        close("attention's log-sum-exp", &bench.get_floats(&log_sum_exp), &sums);

        let slope = random(expected.len(), 2);
        let mut gradient = vec![0.0; qkv.len()];
        attention::attention_backward(&config, &batch, &qkv, &expected, &sums, &slope, &mut gradient);
        let (dslope, dgradient) = (bench.put(&slope), bench.poison(qkv.len()));
        let delta = bench.poison_floats(sums.len());
        ops.attention_backward(
            &device,
            dqkv.view(),
            out.view(),
            log_sum_exp.view(),
            dslope.view(),
            delta.view(),
            dgradient.view(),
        )
        .expect("runs");
        close("attention's gradient", &bench.get(&dgradient), &gradient);
        table.rotate(&mut gradient, width, rotated, &batch.positions, true);
        ops.rotate(dgradient.view(), &device, dtable.view(), true).expect("runs");
        close("rotate's gradient", &bench.get(&dgradient), &gradient);
    }
}

#[test]
fn embeddings() {
    let config = shapes().remove(3);
    let Some(ops) = ops(&config) else { return };
    let bench = Bench { ops: &ops };
    let width = config.hidden_size;
    let tokens: Vec<u32> = (0..60).map(|at| at * 7 % 13).collect();
    let embedding = random(13 * width, 1);
    let numbers = bench.put_integers(&tokens.iter().map(|&token| token as i32).collect::<Vec<i32>>());
    let out = bench.poison(60 * width);
    ops.embed(bench.put(&embedding).view(), numbers.view(), 60, width, out.view()).expect("runs");
    let rows = tokens.iter().flat_map(|&token| &embedding[token as usize * width..][..width]);
    close("embed", &bench.get(&out), &rows.copied().collect::<Vec<f32>>());
    let slope = random(60 * width, 2);
    let mut gradient = random(13 * width, 3);
    let dgradient = bench.put_floats(&gradient);
    for (row, &token) in slope.chunks_exact(width).zip(&tokens) {
        let sums = gradient[token as usize * width..][..width].iter_mut();
        sums.zip(row).for_each(|(sum, value)| *sum += value);
    }
    ops.embed_backward(bench.put(&slope).view(), &tokens, width, dgradient.view()).expect("runs");
    close("embed's gradient", &bench.get_floats(&dgradient), &gradient);
}

#[test]
fn log_probabilities_and_their_gradient() {
    let Some(ops) = ops(&Config::tiny()) else { return };
    let bench = Bench { ops: &ops };
    for vocabulary in [64usize, 1003] {
        let (rows, stride) = (9, vocabulary.next_multiple_of(8));
        let logits: Vec<f32> = random(rows * stride, 1).iter().map(|x| 6.0 * x).collect();
        let targets: Vec<i32> = (0..rows as i32).map(|row| row * 31 % vocabulary as i32).collect();
        let weights = random(rows, 2);
        let (mut statistics, mut sums, mut gradient) = (Vec::new(), Vec::new(), Vec::new());
        for ((row, &target), weight) in logits.chunks_exact(stride).zip(&targets).zip(&weights) {
            let row: Vec<f64> = row[..vocabulary].iter().map(|&x| f64::from(x)).collect();
            let sum = row.iter().map(|x| x.exp()).sum::<f64>().ln();
            let entropy: f64 = row.iter().map(|x| -(x - sum).exp() * (x - sum)).sum();
            statistics.extend([(row[target as usize] - sum) as f32, entropy as f32]);
            sums.push(sum as f32);
            gradient.extend((0..stride).map(|at| {
                let one = f64::from(u8::from(at == target as usize));
                if at < vocabulary {
                    (f64::from(*weight) * (one - (row[at] - sum).exp())) as f32
                } else {
                    0.0
                }
            }));
        }
        let (dlogits, dtargets) = (bench.put_floats(&logits), bench.put_integers(&targets));
        let (found, dsums) = (bench.poison_floats(2 * rows), bench.poison_floats(rows));
        let shape = (rows, vocabulary, stride);
        ops.predict(dlogits.view(), dtargets.view(), shape, found.view(), dsums.view()).expect("runs");
        close("log-probabilities", &bench.get_floats(&found), &statistics);
        close("log-sum-exp", &bench.get_floats(&dsums), &sums);
        let (dweights, out) = (bench.put_floats(&weights), bench.poison(rows * stride));
        ops.loss_gradient(dlogits.view(), dtargets.view(), dsums.view(), dweights.view(), shape, out.view())
            .expect("runs");
        close("gradient of logits", &bench.get(&out), &gradient);
    }
}

#[test]
fn a_step_of_adamw_is_the_cpus() {
    use transformer::optimizer::{AdamW, AdamWSettings};
    let Some(ops) = ops(&Config::tiny()) else { return };
    let bench = Bench { ops: &ops };
    let settings = AdamWSettings { weight_decay: 0.1, ..AdamWSettings::default() };
    let count = 4 * 1000;
    let mut weights = random(count, 1);
    let mut cpu = AdamW::new(settings, &[count], vec![true]);
    let (master, half) = (bench.put_floats(&weights), bench.poison(count));
    let (first, second) = (bench.put_floats(&vec![0.0; count]), bench.put_floats(&vec![0.0; count]));
    for step in 1..=3 {
        let gradient = random(count, 1 + step);
        let dgradient = bench.put_floats(&gradient);
        let scaled: Vec<f32> = gradient.iter().map(|x| 0.5 * x).collect();
        cpu.step(1e-2, vec![&mut weights], &[&scaled]);
        let corrections = (1.0 - 0.9f32.powi(step as i32), (1.0 - 0.999f32.powi(step as i32)).sqrt());
        launch!(
            ops,
            "adamw",
            (4, 1),
            256,
            master.view(),
            first.view(),
            second.view(),
            dgradient.view(),
            half.view(),
            count as i64,
            0.5f32,
            1e-2f32,
            0.9f32,
            0.999f32,
            1e-8f32,
            1.0f32 - 1e-2 * 0.1,
            corrections.0,
            corrections.1
        )
        .expect("runs");
        assert!(bench.get_floats(&dgradient).iter().all(|&value| value == 0.0), "the gradient is cleared");
    }
    let found = bench.get_floats(&master);
    let worst = found.iter().zip(&weights).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-6, "{worst}");
    close("bf16 weights", &bench.get(&half), &weights);
}

#[test]
fn shapes_that_cannot_run_are_named() {
    let refused = |config: Config| Shape::of(&config).expect_err("refused").to_string();
    assert!(refused(Config { head_dim: 256, ..Config::tiny() }).contains("head_dim is 256, at most 128"));
    assert!(refused(Config { hidden_size: 30, ..Config::tiny() }).contains("hidden_size is 30"));
    assert!(refused(Config { num_attention_heads: 34, ..Config::tiny() }).contains("17 query heads"));
    assert!(Shape::of(&Config::tiny()).is_ok());
}

#[test]
fn shapes_of_known_models_can_run() {
    let models = [
        ("SmolLM2-135M", 576, 9, 3, 64, 1536),
        ("Qwen3-0.6B", 1024, 16, 8, 128, 3072),
        ("Llama-3.2-1B", 2048, 32, 8, 64, 8192),
        ("DeepSeek-Coder-1.3B", 2048, 16, 16, 128, 5504),
        ("SmolLM3-3B", 2048, 16, 4, 128, 11008),
        ("Qwen2.5-7B", 3584, 28, 4, 128, 18944),
    ];
    for (name, hidden_size, heads, num_key_value_heads, head_dim, intermediate_size) in models {
        let num_attention_heads = heads;
        let config = Config {
            hidden_size,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            intermediate_size,
            ..Config::tiny()
        };
        let shape = Shape::of(&config).expect(name);
        assert_eq!(shape, Shape { head_dim, group: heads / num_key_value_heads }, "{name}");
    }
}
