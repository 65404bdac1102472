#include <unistd.h>

#include <cstdlib>

#include "apps/command_line.h"
#include "io/serve/serve_job.h"

using namespace eelsvae;

namespace {

// Threads that spin while they wait keep each other, and who receives, from a processor that other programs
// use too: rows took forty times as long. The library of the threads asks for that when it is loaded, so the
// program starts again.
void let_waiting_threads_sleep(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") || std::getenv("OMP_WAIT_POLICY")) return;
  if (::setenv("GOMP_SPINCOUNT", "1000", 0) == 0) ::execv("/proc/self/exe", argv);
}

}  // namespace

int main(int argc, char** argv) {
  let_waiting_threads_sleep(argv);
  ServeRequest request;
  CommandLine app(
      "Scores scans while they are running: other programs send it spectra, get scores and watch. Ends with "
      "Ctrl-C.",
      "eelsvae-serve");
  app.footer(
      "Examples:\n"
      "  eelsvae-detect scan.dm4 --baseline pca:auto --output found\n"
      "  eelsvae-serve --state found --page 5726\n"
      "scores further scans of that specimen as scan.dm4 was scored. In Python, with eelsvae_client.py and "
      "pyzmq:\n"
      "  from eelsvae_client import Scan\n"
      "  with Scan('tcp://127.0.0.1:5725', shape=(210, 210), channels=1340, energy_offset=420,\n"
      "            dispersion=0.3, dtype='uint16') as scan:\n"
      "      for y in range(210): scan.send(y * 210, row(y))\n"
      "  print(scan.summary)\n"
      "and http://127.0.0.1:5726/ shows it meanwhile.\n"
      "  eelsvae-detect --model run --data scan.dm4 --output found\n"
      "  eelsvae-serve --model run --state found --page 5726\n"
      "scores them by a trained network.\n"
      "  eelsvae-serve --baseline local --learn-rows 20\n"
      "needs no detection before: each scan is scored by what its first 20 rows show.\n"
      "  eelsvae-serve --baseline local --learn-rows 20 --train 3 --output lab\n"
      "and meanwhile trains a network on the first scan for three minutes, by which it scores the others.\n"
      "  eelsvae-serve --make-keys lab.keys\n"
      "  eelsvae-serve --state found --listen 'tcp://*:5725' --keys lab.keys\n"
      "is for clients on other machines, which have lab.keys.client.\n"
      "  eelsvae-serve --state found --page 5726 --simplon tcp://DCU:31001 --scan 210,210 \\\n"
      "      --energy-offset -20 --dispersion 0.25 --region 100:150,0:1028 \\\n"
      "      --forward tcp://127.0.0.1:9998\n"
      "scores the scans of a DECTRIS detector, and hands its stream on. docs/live.md has the rest.");
  app.add_option("--state", request.state,
                 "what a detection measured: its folder, or the file state.safetensors in it");
  app.add_option("--model", request.model,
                 "beside --state of a detection with a model: that model, a run's folder or a file");
  app.add_option(
      "--baseline", request.baseline,
      "instead: local, mean, pca:K, rx:K, pca:auto or rx:auto, learned from each scan's first rows; local, "
      "which compares each spectrum with those around it, is the one that holds when the specimen is "
      "another one further down");
  app.add_option("--learn-rows", request.learn_rows, "how many rows that are").default_str("20");
  app.add_option("--train", request.train,
                 "minutes in which a network learns from the first scan, in the background, while the "
                 "baseline scores; that scan is then scored anew by it, and later ones from the beginning")
      .type_name("MINUTES");
  app.add_option("--train-rows", request.train_rows,
                 "how many rows of the first scan it learns from, as soon as they are there; else all");
  app.add_option("--output", request.output, "folder for that scan, the network and its report")
      .default_str("live");
  app.add_option("--config", request.config, "configuration, for --baseline");
  app.add_option("--set", request.settings,
                 "override a key, for --baseline; beside --model device, precision and "
                 "detection.batch_size (repeatable)")
      .type_name("KEY=VALUE")
      .one_value_each_time();
  app.add_option("--listen", request.listen,
                 "where clients are heard; port * is any that is free. Other machines: with --keys")
      .capture_default_str();
  app.add_option(
      "--page", request.page,
      "port at which browsers on this machine get a page of the running scan; 0: any that is free");
  app.add_option("--keys", request.keys,
                 "hear only clients that have the key: the service's file of --make-keys");
  app.add_option(
      "--make-keys", request.make_keys,
      "write this file, for --keys, and another for clients, with .client behind its name; then end");
  app.add_option("--window", request.window, "MiB of spectra that a sender may have on the way")
      .capture_default_str();
  app.add_option(
      "--simplon", request.simplon,
      "receive a DECTRIS detector and score its scans, too: tcp://HOST:31001 (stream version 2) or "
      "tcp://HOST:9999 (1)");
  app.add_option("--scan", request.scan, "of the detector: the scan's shape, if the stream does not say it")
      .type_name("HEIGHT,WIDTH");
  app.add_option("--energy-offset", request.energy_offset, "eV of its first column");
  app.add_option("--dispersion", request.dispersion, "eV from a column to the next");
  app.add_option(
         "--region", request.region,
         "its rows that are summed, and the columns that are taken, each from the first to behind the "
         "last: 100:150 or 100:150,0:1028")
      .type_name("ROWS[,COLUMNS]");
  app.add_option("--channel", request.channel, "which of several thresholds; else the first");
  app.add_option("--forward", request.forward,
                 "address where the next receiver gets the stream as it came: tcp://127.0.0.1:9998");
  app.add_option("--queue", request.queue, "MiB of its spectra that may wait to be scored")
      .default_str("512");
  return app.run(argc, argv, [&] { return run_serve(request); });
}
