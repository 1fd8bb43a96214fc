"""What the sets look like that are made rather than read: a sheet of each, <set>.png.

python examples/rendered_sets.py
"""

from PIL import Image

from pyro_infogan import datasets, figures
from pyro_infogan.images import scaled

SETS = {
    "rendered_chairs": datasets.rendered_chairs,
    "street_numbers": datasets.street_numbers,
}


def main(rows: int = 8, columns: int = 16) -> None:
    for name, make in SETS.items():
        dataset = make(rows * columns)
        sheet = Image.fromarray((figures.sheet(scaled(dataset.images), columns) * 255).astype("u1"))
        sheet.resize((sheet.width * 3, sheet.height * 3), Image.Resampling.NEAREST).save(
            f"{name}.png"
        )
        print(
            f"{name}.png: {tuple(dataset.images.shape[1:])}, factors {', '.join(dataset.factors)}"
        )


if __name__ == "__main__":
    main()
