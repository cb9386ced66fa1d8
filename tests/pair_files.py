"""Small files of pairs, written for a test: the bundled corpus's layout and that of the ChEBI-20 release."""

import io

GOOD = [("an alcohol", "CCO"), ("a paraffin, short", "CC"), ("an acid", "CC(=O)O"), ("an amine", "CCN"), ("water", "O")]
TABLE = ("text,smiles\n" + "".join(f'"{text}",{smiles}\n' for text, smiles in GOOD)).encode()
HEADER = "id,smiles,description,split,class"
ROWS = [
    "a1,CCO,an alcohol,train,alcohol",
    'a2,CC(=O)O,"an acid, short",train,acid',
    "a3,c1ccccc1,an arene,validation,arene",
    "a4,CCN,an amine,test,amine",
]
RELEASE_HEADER = "CID\tSMILES\tdescription"


def parquet(columns=None, **options):
    """The good pairs, or these columns, as the bytes of a Parquet file."""
    import pyarrow.parquet

    texts, smiles = map(list, zip(*GOOD, strict=True))
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns or {"text": texts, "smiles": smiles}), buffer, **options)
    return buffer.getvalue()


def table(folder, rows, name="pairs.csv", header=HEADER):
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def alkane(number):
    return "C" * (number + 1)


def release(folder, **splits):
    """Write files of the release's layout; ids of different splits are apart by 10,000."""
    folder.mkdir(parents=True, exist_ok=True)
    for offset, (name, count) in enumerate(splits.items()):
        rows = [f"{offset * 10000 + n + 1}\t{alkane(n)}\t{name} text {n}" for n in range(count)]
        table(folder, rows, f"{name}.txt", RELEASE_HEADER)
    return folder
