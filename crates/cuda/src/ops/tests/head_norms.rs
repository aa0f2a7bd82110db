//! The norms of heads against the CPU's.

use super::*;

#[test]
fn norms_of_heads() {
    // More rows than there are parts of the sums, and fewer.
    for (config, rows) in shapes().into_iter().flat_map(|config| [(config.clone(), 37), (config, 1301)]) {
        let Some(ops) = ops(&config) else { return };
        let bench = Bench { ops: &ops };
        let (width, head_dim) = (config.qkv_size(), config.head_dim);
        let heads = config.num_attention_heads + config.num_key_value_heads;
        let x = random(rows * width, 1);
        let (query, key) = (random(head_dim, 2), random(head_dim, 3));
        let (mut expected, mut scales) = (vec![0.0; rows * width], vec![0.0; rows * heads]);
        norm::head_norms(&config, &x, (&query, &key), &mut expected, &mut scales);
        let (dx, dquery, dkey) = (bench.put(&x), bench.put(&query), bench.put(&key));
        let gains = (dquery.view(), dkey.view());
        let (out, scale) = (bench.poison(rows * width), bench.poison_floats(rows * heads));
        ops.head_norms(dx.view(), gains, rows, config.rms_norm_eps, out.view(), scale.view()).expect("runs");
        close("head_norms", &bench.get(&out), &expected);
        close("head_norms' scale", &bench.get_floats(&scale), &scales);

        let mut gradient = random(rows * width, 4);
        let dgradient = bench.put(&gradient);
        let sums = norm::head_norms_backward(&config, &x, (&query, &key), &scales, &mut gradient);
        let scratch = bench.poison_floats(2 * ops.norm_parts() * head_dim);
        let (dsums, frozen) = (bench.put_floats(&vec![0.0; head_dim]), bench.put(&random(rows * width, 4)));
        let backward = |gradient: &Buffer<u16>, targets| {
            let (x, scale, scratch) = (dx.view(), scale.view(), scratch.view());
            ops.head_norms_backward(x, gains, scale, rows, gradient.view(), scratch, targets).expect("runs");
        };
        backward(&dgradient, (Some(dsums.view()), None));
        close("head_norms' gradient", &bench.get(&dgradient), &gradient);
        close("the queries' gain's gradient", &bench.get_floats(&dsums), &sums.0);
        let dsums = bench.put_floats(&vec![0.0; head_dim]);
        let target = Some(dsums.view());
        backward(&frozen, (None, target));
        close("head_norms' gradient", &bench.get(&frozen), &gradient);
        close("the keys' gain's gradient", &bench.get_floats(&dsums), &sums.1);
    }
}
