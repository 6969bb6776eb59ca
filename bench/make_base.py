"""Writes the folder of a randomly initialised BERT of base size: 12 layers, 768 wide, 12 heads.

    python bench/make_base.py OUT [--tokenizer models/all-MiniLM-L6-v2] [--seed 0]

For timing only. Vocabulary and tokenizer are those of the folder --tokenizer. Needs bench/requirements.txt.
"""
import argparse


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--tokenizer", default="models/all-MiniLM-L6-v2")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel
    torch.manual_seed(arguments.seed)
    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=768, num_hidden_layers=12, num_attention_heads=12,
                        intermediate_size=3072, pad_token_id=tokenizer.pad_token_id)
    BertModel(config).save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
