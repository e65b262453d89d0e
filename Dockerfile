FROM python:3.11.11-slim-bookworm
RUN apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY . .
RUN pip install --no-cache-dir --constraint constraints.txt --editable '.[server]'
RUN useradd --create-home atlas && mkdir -p runs && chown -R atlas runs
USER atlas
ENTRYPOINT []
CMD ["concepts", "--help"]
