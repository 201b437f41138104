"""The reference of the S3 row: 16 threads that put the same bytes, nothing else. Prints objects per second.

python -m tests.bench.raw_puts BUCKET IMAGE_FOLDER OBJECTS
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
from botocore.config import Config

from contracts.settings import Settings

THREADS = 16


def main(bucket: str, images: Path, objects: int) -> float:
    s3 = Settings.load().s3
    client = boto3.client(
        "s3",
        endpoint_url=s3.endpoint_url,
        region_name=s3.region,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key.get_secret_value(),
        config=Config(max_pool_connections=THREADS, s3={"addressing_style": "path"}),
    )
    bodies = [file.read_bytes() for file in sorted(images.iterdir())]

    def put(number: int) -> None:
        client.put_object(Bucket=bucket, Key=f"raw/{number:06}.jpg", Body=bodies[number % len(bodies)])

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(put, range(200)))
        begin = time.perf_counter()
        list(pool.map(put, range(200, objects)))
        return (objects - 200) / (time.perf_counter() - begin)


if __name__ == "__main__":
    print(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
