use learning::supervised::*; use learning::*; use problems::basics::World; use problems::prompt::*; use transformer::*; use std::ops::ControlFlow; use std::path::Path;
fn main(){
 let a:Vec<String>=std::env::args().collect(); let out=Path::new(&a[1]); let n:usize=a[2].parse().unwrap(); let h:usize=a[3].parse().unwrap(); let l:usize=a[4].parse().unwrap(); let lr:f64=a[5].parse().unwrap();
 let w=World::new(); let programs=w.programs(n,1);
 let prompts:Vec<String>=programs.iter().map(|p|comment_prompt_of(&p.text,std::iter::once(p.test.as_str()))).collect();
 let end="<|endoftext|>";
 let tok=Tokenizer::train(prompts.iter().map(|s|s.as_str()).chain(programs.iter().map(|p|p.code.as_str())).take(40000),1024,&[end]).unwrap();
 let ex:Vec<Example>=programs.iter().zip(&prompts).map(|(p,q)|{let mut c=tok.encode(&p.code);c.push(0);Example{prompt:tok.encode(q),completion:c}}).collect();
 let pl:usize=ex.iter().map(|e|e.prompt.len()).sum(); let cl:usize=ex.iter().map(|e|e.completion.len()).sum(); eprintln!("prompt {} completion {}",pl as f64/n as f64,cl as f64/n as f64);
 let config=Config{vocab_size:tok.vocab_size(),hidden_size:h,intermediate_size:h*3,num_hidden_layers:l,num_attention_heads:h/32,num_key_value_heads:(h/64).max(1),head_dim:32,rms_norm_eps:1e-6,rope_theta:10000.,tie_word_embeddings:true,max_position_embeddings:512,eos_token_ids:vec![0]};
 eprintln!("{} parameters", config.parameters());
 let s=SupervisedSettings{epochs:1,batch_size:64,prompt_weight:0.1,optimizer:OptimizerSettings{learning_rate:lr,..Default::default()}};
 let mut t=Trainer::new(Model::random(config,1),&s.optimizer); let start=std::time::Instant::now();
 train(&mut t,&ex,&s,1,&mut |r|{ if r.step%50==0{eprintln!("{}/{} {:.0}s {:?}",r.step,r.total,start.elapsed().as_secs_f64(),r.metrics);} ControlFlow::Continue(())}).unwrap();
 std::fs::create_dir_all(out).unwrap(); t.model.save(out,Default::default()).unwrap(); tok.save(out).unwrap();
}
