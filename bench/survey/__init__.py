# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every class of causal language models in transformers, small and random, through mk: which match, and why not.

python -m bench.survey                         # all classes that bench/results/models.json has no result of
python -m bench.survey --again refused         # those that were refused then
python -m bench.survey LlamaForCausalLM        # these classes, results on the screen and in the file
python -m bench.survey --page                  # docs/generated/models.md from the file
"""
