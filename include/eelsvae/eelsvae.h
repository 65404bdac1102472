/* eelsvae for other programs, in C99: finds the spectra of an EELS spectrum image that do not fit the rest.
 *
 *     eelsvae_model*      what was learnt from an image; immutable, any number of threads may use one at once
 *     eelsvae_session*    looks for anomalies, with a model, a baseline or a state; one thread at a time
 *     eelsvae_detection*  what was found in one image; immutable
 *     eelsvae_config*     the keys of docs/config.md; one thread at a time
 *
 * Objects are made by functions that write them to their last argument, NULL where they fail, and are given
 * back by the _destroy of their kind, which takes NULL. They do not depend on each other: each may be given
 * back while others that were made with it are still in use.
 *
 * Every function but those for versions and messages returns a status. Where it is not EELSVAE_OK the work
 * has left nothing behind, and eelsvae_last_message() says in a line what was wrong and what would be right.
 * NULL for an object or a place to write to is such a mistake, never a crash. Texts are UTF-8.
 *
 * The library neither writes to stdout or stderr, nor handles signals, nor ends the process: on a processor
 * without AVX2 and FMA it can be loaded, and every call that returns a status is a mistake. It uses OpenMP's
 * threads (libgomp). Where it works on a GPU, the calling thread's current CUDA device is afterwards what it
 * was before. Its only files are those whose paths it is given, a file of measured choices in
 * $XDG_CACHE_HOME/eelsvae, and, for arrays too large for the memory, scratch files in $TMPDIR.
 */
#ifndef EELSVAE_EELSVAE_H
#define EELSVAE_EELSVAE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define EELSVAE_API __attribute__((visibility("default")))
#else
#define EELSVAE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- versions, status, messages ---- */

/* Grows where programs have to be compiled anew; the number in the library's SONAME. */
#define EELSVAE_ABI_VERSION 1
EELSVAE_API uint32_t eelsvae_abi_version(void);
/* "0.1.0", of the library. */
EELSVAE_API const char* eelsvae_version(void);

typedef int32_t eelsvae_status;
enum {
  EELSVAE_OK = 0,
  EELSVAE_MISTAKE = 1,   /* in what was given, or of this machine, such as a disk that is full */
  EELSVAE_STOPPED = 2,   /* by a progress callback or eelsvae_session_stop() */
  EELSVAE_NO_MEMORY = 3, /* the system gave none */
  EELSVAE_DEFECT = 4     /* of the library: please report it, with the message */
};

/* What this thread's last call that returned a status had to say: "" if that was EELSVAE_OK. Lives until this
 * thread's next such call. */
EELSVAE_API const char* eelsvae_last_message(void);

/* ---- configurations ---- */

typedef struct eelsvae_config eelsvae_config;

/* json: a configuration as the programs take it (docs/config.md), such as {"training": {"epochs": 100},
 * "device": "cpu"}; keys that are left out have their defaults. NULL: all of them. Not kept. The keys that
 * say how a file is to be read (data.data_path, dataset, axes, swap_axes, frame, energy_offset, dispersion)
 * may be there and are not looked at: the caller's array says all that. A session with a model refuses them.
 */
EELSVAE_API eelsvae_status eelsvae_config_create(const char* json, eelsvae_config** config);
/* One more key, as after the programs' --set: "detection.fdr=0.01", "data.energy_range=693,730",
 * "device=cuda:1". Whether values go together is checked where they are used. */
EELSVAE_API eelsvae_status eelsvae_config_set(eelsvae_config* config, const char* assignment);
/* The complete configuration as JSON text, which lives until the next eelsvae_config_set() or _destroy(). */
EELSVAE_API eelsvae_status eelsvae_config_json(const eelsvae_config* config, const char** json);
EELSVAE_API void eelsvae_config_destroy(eelsvae_config* config);

/* ---- images ---- */

/* Types of the numbers in an array, in this machine's byte order. float16: IEEE 754's binary16. */
enum {
  EELSVAE_INT8 = 1,
  EELSVAE_UINT8 = 2,
  EELSVAE_INT16 = 3,
  EELSVAE_UINT16 = 4,
  EELSVAE_INT32 = 5,
  EELSVAE_UINT32 = 6,
  EELSVAE_INT64 = 7,
  EELSVAE_UINT64 = 8,
  EELSVAE_FLOAT16 = 9,
  EELSVAE_FLOAT32 = 10,
  EELSVAE_FLOAT64 = 11
};

/* A spectrum image of counts in the caller's memory. It is read during the call that it is given to and never
 * written, and is not needed afterwards. Numbers are rounded to the nearest float32. */
typedef struct eelsvae_image {
  size_t struct_size; /* sizeof(eelsvae_image); eelsvae_image_init() sets it */
  const void* data;   /* the element at (0, 0, 0); need not be aligned */
  int64_t shape[3];   /* y, x, energy; each 1 or more */
  /* Bytes from one element to the next along y, x and energy, of any sign. All 0: C order. */
  int64_t strides[3];
  int32_t type;         /* EELSVAE_INT8 to EELSVAE_FLOAT64 */
  int32_t reserved;     /* 0 */
  double energy_offset; /* eV, of the first channel's centre */
  double dispersion;    /* eV per channel, greater than 0 */
  /* (y, x), not 0: left out of training and detection, whatever its counts are. NULL: none. */
  const uint8_t* excluded;
  int64_t excluded_strides[2]; /* bytes, as above */
} eelsvae_image;

/* Every field 0 or NULL but struct_size, and dispersion, which is 1. struct_size: sizeof(eelsvae_image). */
EELSVAE_API eelsvae_status eelsvae_image_init(eelsvae_image* image, size_t struct_size);

/* ---- options of trainings and sessions ---- */

enum { EELSVAE_LOG_INFO = 0, EELSVAE_LOG_WARNING = 1 };

/* Callbacks are called by the thread that called the library, during that call. They must return: no longjmp,
 * no exception. They may call the library, but not for the session that is at work, except
 * eelsvae_session_stop(). */

/* text: one line; lives during the call. level: EELSVAE_LOG_INFO or more. */
typedef void (*eelsvae_log_callback)(void* user, int32_t level, const char* text);
/* stage: "preparing", "fitting", "training", "reconstructing", "scoring" or "comparing"; lives during the
 * call. done of total: optimizer steps of a training, tiles of a reconstruction, else 0 of 1. Other than 0
 * stops the work, soon. */
typedef int32_t (*eelsvae_progress_callback)(void* user, const char* stage, int64_t done, int64_t total);

typedef struct eelsvae_options {
  size_t struct_size; /* sizeof(eelsvae_options); eelsvae_options_init() sets it */
  /* For the work on the CPU, 1 to 1024; 0: OpenMP's own setting, such as OMP_NUM_THREADS. Where the same
   * kernels are the fastest, results do not depend on it. */
  int32_t threads;
  /* Of sessions with a model. Not 0: the images are the very one that it was trained on, which is then
   * cropped as it was, and predictions are judged by the spectra that were held out. */
  int32_t on_training_image;
  /* Of sessions. Not 0: detections keep their spectra, for eelsvae_detection_observed() and _expected(). */
  int32_t keep_spectra;
  int32_t reserved;         /* 0 */
  eelsvae_log_callback log; /* NULL: nobody listens */
  void* log_user;           /* handed to log; must live as long as the training's call or the session */
  eelsvae_progress_callback progress; /* NULL: nobody is told, nothing stops the work */
  void* progress_user;                /* handed to progress; as above */
} eelsvae_options;

/* Every field 0 or NULL but struct_size. struct_size: sizeof(eelsvae_options). */
EELSVAE_API eelsvae_status eelsvae_options_init(eelsvae_options* options, size_t struct_size);

/* ---- models ---- */

typedef struct eelsvae_model eelsvae_model;

/* A checkpoint that eelsvae-train or this library wrote, or the folder of a run. The file is read during the
 * call and not needed afterwards. */
EELSVAE_API eelsvae_status eelsvae_model_open(const char* path, eelsvae_model** model);
/* The content of such a file, `size` bytes, which are copied. */
EELSVAE_API eelsvae_status eelsvae_model_from_memory(const void* content, size_t size, eelsvae_model** model);
/* Trains a model, as eelsvae-train does, to the configuration's training.epochs or until it learns no more;
 * its best state is the model. config: NULL: the defaults; options: NULL: none. Both are not kept.
 * EELSVAE_STOPPED: *model is the best so far, or NULL if no epoch was complete.
 * The keys data.exclude_path and preprocess.align_path, which name other files, are refused. */
EELSVAE_API eelsvae_status eelsvae_model_train(const eelsvae_image* image, const eelsvae_config* config,
                                               const eelsvae_options* options, eelsvae_model** model);
/* Writes it to a checkpoint, all or nothing, which the programs read, too. */
EELSVAE_API eelsvae_status eelsvae_model_save(const eelsvae_model* model, const char* path);
/* What eelsvae_model_save() would write, for who keeps models elsewhere. Lives as long as the model. */
EELSVAE_API eelsvae_status eelsvae_model_content(const eelsvae_model* model, const void** content,
                                                 size_t* size);
/* The energies that it knows: those of its images, as they are after preprocessing. An image to be searched
 * has to hold all of them, at these places. offset and dispersion in eV; each of the three may be NULL. */
EELSVAE_API eelsvae_status eelsvae_model_energy(const eelsvae_model* model, double* offset,
                                                double* dispersion, int64_t* channels);
/* The side of its tiles, pixels: the least height and width of an image, after binning, if that is set. */
EELSVAE_API eelsvae_status eelsvae_model_tile_size(const eelsvae_model* model, int64_t* pixels);
/* The configuration that it was trained with, complete, as JSON text. Lives as long as the model. */
EELSVAE_API eelsvae_status eelsvae_model_config(const eelsvae_model* model, const char** json);
EELSVAE_API void eelsvae_model_destroy(eelsvae_model* model);

/* ---- sessions ---- */

typedef struct eelsvae_session eelsvae_session;

/* With a model. config: what is to differ from the model's own configuration, of the keys detection.*,
 * data.exclude, device, precision, preprocess.crop_y, crop_x and set_aside; only keys that were given to
 * eelsvae_config_create() and _set() are looked at, and any other is a mistake. NULL: nothing. Not kept, nor
 * are the options (NULL: none), except the callbacks and what they are handed. Weights are loaded by the
 * first detection. */
EELSVAE_API eelsvae_status eelsvae_session_create(const eelsvae_model* model, const eelsvae_config* config,
                                                  const eelsvae_options* options, eelsvae_session** session);
/* Without a model: each image is compared with what is fitted to itself, or to another one
 * (eelsvae_session_detect_fitted()). baseline: "mean"; "pca:auto", "pca:5"; "rx:auto", "rx:10". config: NULL:
 * the defaults. */
EELSVAE_API eelsvae_status eelsvae_session_create_baseline(const char* baseline, const eelsvae_config* config,
                                                           const eelsvae_options* options,
                                                           eelsvae_session** session);
/* Looks for spectra that do not fit, as eelsvae-detect does. */
typedef struct eelsvae_detection eelsvae_detection;
EELSVAE_API eelsvae_status eelsvae_session_detect(eelsvae_session* session, const eelsvae_image* image,
                                                  eelsvae_detection** detection);
/* The same, with the baseline fitted to `normal`, which is known to have nothing to be found, as by
 * eelsvae-detect --fit. It has all energies of `image` and is prepared as that is, in the same units; what
 * the configuration crops and excludes is of `image` alone. Noise and threshold are those of `image`. For a
 * session without a model and without a state. */
EELSVAE_API eelsvae_status eelsvae_session_detect_fitted(eelsvae_session* session, const eelsvae_image* image,
                                                         const eelsvae_image* normal,
                                                         eelsvae_detection** detection);
/* Stops the detection that is at work, soon; where none is, nothing. From any thread, not from a signal
 * handler. One that has only just been asked for may not hear it: call again until eelsvae_session_detect()
 * returns. */
EELSVAE_API eelsvae_status eelsvae_session_stop(eelsvae_session* session);
/* No call of the session may be at work. */
EELSVAE_API void eelsvae_session_destroy(eelsvae_session* session);

/* ---- detections ---- */

/* Height and width of the maps, in pixels: of the image, but for preprocess.crop_y, crop_x and bin_xy. Each
 * may be NULL. */
EELSVAE_API eelsvae_status eelsvae_detection_size(const eelsvae_detection* detection, int64_t* height,
                                                  int64_t* width);
/* The axis of the spectra that were compared. offset and dispersion in eV; each may be NULL. */
EELSVAE_API eelsvae_status eelsvae_detection_energy(const eelsvae_detection* detection, double* offset,
                                                    double* dispersion, int64_t* channels);
/* The scores (y, x) in C order: larger fits worse; NaN in excluded pixels, finite in all others. count:
 * elements at `scores`, which must be height * width. */
EELSVAE_API eelsvae_status eelsvae_detection_scores(const eelsvae_detection* detection, float* scores,
                                                    size_t count);
/* The same for the mask (y, x): 1 where the score is above the threshold, else 0. */
EELSVAE_API eelsvae_status eelsvae_detection_mask(const eelsvae_detection* detection, uint8_t* mask,
                                                  size_t count);
/* The spectra (y, x, energy) that were compared, in C order, after preprocessing, which scales counts; and
 * what was expected of them, in the same units. 0 in excluded pixels. count: height * width * channels. A
 * mistake unless the session was made with keep_spectra. */
EELSVAE_API eelsvae_status eelsvae_detection_observed(const eelsvae_detection* detection, float* spectra,
                                                      size_t count);
EELSVAE_API eelsvae_status eelsvae_detection_expected(const eelsvae_detection* detection, float* spectra,
                                                      size_t count);
/* Above it a spectrum does not fit. */
EELSVAE_API eelsvae_status eelsvae_detection_threshold(const eelsvae_detection* detection, double* threshold);
/* Pixels above the threshold, and pixels that have a score. Each may be NULL. */
EELSVAE_API eelsvae_status eelsvae_detection_pixels(const eelsvae_detection* detection, int64_t* anomalous,
                                                    int64_t* scored);
/* trusted: 1 if nothing speaks against the threshold, else 0; then there are `reasons` reasons. Each may be
 * NULL. */
EELSVAE_API eelsvae_status eelsvae_detection_trusted(const eelsvae_detection* detection, int32_t* trusted,
                                                     int64_t* reasons);
/* One of them, counted from 0: a line that says what to do about it. Lives as long as the detection. */
EELSVAE_API eelsvae_status eelsvae_detection_reason(const eelsvae_detection* detection, int64_t index,
                                                    const char** reason);

/* Anomalous pixels that touch each other, by edge or by corner. */
typedef struct eelsvae_region {
  size_t struct_size; /* sizeof(eelsvae_region), set by the caller; no more than so much is written */
  int64_t pixels;
  int64_t y, x; /* of the pixel with the highest score, in the maps */
  double score; /* the highest */
  /* What changed there, such as "Fe L3 moved by +1.2 +- 0.3 eV" with a plus-minus sign; "" if it was not
   * sought. Lives as long as the detection. */
  const char* explanation;
} eelsvae_region;

EELSVAE_API eelsvae_status eelsvae_detection_regions(const eelsvae_detection* detection, int64_t* count);
/* index: from 0; the region with the highest score comes first. */
EELSVAE_API eelsvae_status eelsvae_detection_region(const eelsvae_detection* detection, int64_t index,
                                                    eelsvae_region* region);
/* All that eelsvae-detect writes into summary.json, as JSON text. Lives as long as the detection. */
EELSVAE_API eelsvae_status eelsvae_detection_summary(const eelsvae_detection* detection, const char** json);
EELSVAE_API void eelsvae_detection_destroy(eelsvae_detection* detection);

/* ---- states, and scans that are still running ---- */

/* Everything that a detection measures in an image as a whole: what is expected, the noise, how normal
 * spectra vary and score. By it other scans of the specimen are scored as that one was, and one that is still
 * running row by row. Scores that set several scores of an image against each
 * other (detection.score joint, amounts, combined, latent), despiking, aligning and binning of pixels have
 * none. A state never changes, and any number of threads and scans may use it. */
typedef struct eelsvae_state eelsvae_state;

/* The state.safetensors that eelsvae-detect or this library wrote, or the folder of a detection. */
EELSVAE_API eelsvae_status eelsvae_state_open(const char* path, eelsvae_state** state);
/* The content of such a file, `size` bytes, which are copied. */
EELSVAE_API eelsvae_status eelsvae_state_from_memory(const void* content, size_t size, eelsvae_state** state);
/* Fits a baseline ("mean", "pca:auto", "rx:10") to an image and measures the rest in it. config: NULL: the
 * defaults. Not kept. */
EELSVAE_API eelsvae_status eelsvae_state_learn(const eelsvae_image* image, const char* baseline,
                                               const eelsvae_config* config, eelsvae_state** state);
/* Writes it to a file, all or nothing. */
EELSVAE_API eelsvae_status eelsvae_state_save(const eelsvae_state* state, const char* path);
/* What eelsvae_state_save() would write. Lives as long as the state. */
EELSVAE_API eelsvae_status eelsvae_state_content(const eelsvae_state* state, const void** content,
                                                 size_t* size);
/* The energies that it knows, after preprocessing; as eelsvae_model_energy() has them. */
EELSVAE_API eelsvae_status eelsvae_state_energy(const eelsvae_state* state, double* offset,
                                                double* dispersion, int64_t* channels);
EELSVAE_API void eelsvae_state_destroy(eelsvae_state* state);

/* A session that scores each image as the one was in which the state was measured, by the same baseline or
 * model, noise and threshold, as by eelsvae-detect --state. model: NULL: the state has a baseline; otherwise
 * the model of the detection whose state it is. config: of the keys data.exclude, preprocess.crop_y, crop_x,
 * detection.fdr, threshold, elements, batch_size, device and precision, those that were given; any other is a
 * mistake. NULL: nothing. Kept as by eelsvae_session_create(); eelsvae_detection_state() of what it finds is
 * this state. */
EELSVAE_API eelsvae_status eelsvae_session_create_with_state(const eelsvae_model* model,
                                                             const eelsvae_state* state,
                                                             const eelsvae_config* config,
                                                             const eelsvae_options* options,
                                                             eelsvae_session** session);

/* A scan that is still to come. */
typedef struct eelsvae_plan {
  size_t struct_size; /* sizeof(eelsvae_plan); eelsvae_plan_init() sets it */
  int64_t height, width, channels;
  double energy_offset; /* eV, of the first channel's centre */
  double dispersion;    /* eV per channel, greater than 0 */
  /* (y, x) in C order, not 0: will not be looked at, whether its spectrum comes or not. NULL: none. Copied.
   */
  const uint8_t* excluded;
  /* A row of which spectra are missing is given up when so many rows after it are complete; 1 or more. They
   * are then excluded pixels. */
  int64_t patience;
} eelsvae_plan;

/* Every field 0 or NULL but struct_size, dispersion, which is 1, and patience, which is 2. */
EELSVAE_API eelsvae_status eelsvae_plan_init(eelsvae_plan* plan, size_t struct_size);

/* Scores a scan while it is running. All calls do their work in the caller's thread, with the options'
 * `threads`. One push, score_provisionally or finish of a scan at a time; what only looks at it, from its
 * status to its state, may be called by other threads meanwhile, and waits until that call has ended. Final
 * scores are bit for bit those of a detection by this state in the whole image. */
typedef struct eelsvae_scan eelsvae_scan;

/* options: NULL: none; on_training_image and keep_spectra are mistakes. Kept are the callbacks. The state may
 * be destroyed before the scan. */
EELSVAE_API eelsvae_status eelsvae_scan_create(const eelsvae_state* state, const eelsvae_plan* plan,
                                               const eelsvae_options* options, eelsvae_scan** scan);
/* By a model, and the state of a detection with it (eelsvae_detection_state()). config: device, precision and
 * detection.batch_size; NULL: the model's own. Not kept. Both may be destroyed before the scan. A row of the
 * model's tiles is looked at when it is complete, which then takes the longest. */
EELSVAE_API eelsvae_status eelsvae_scan_create_with_model(
    const eelsvae_model* model, const eelsvae_state* state, const eelsvae_config* config,
    const eelsvae_plan* plan, const eelsvae_options* options, eelsvae_scan** scan);
/* Learns its state from its own first `rows` rows, as eelsvae_state_learn() does from an image, and then
 * scores these, too. Where they do not suffice, the call that completes them says so. */
EELSVAE_API eelsvae_status eelsvae_scan_create_learning(const char* baseline, int64_t rows,
                                                        const eelsvae_config* config,
                                                        const eelsvae_plan* plan,
                                                        const eelsvae_options* options, eelsvae_scan** scan);

/* Rows [first, last) of a scan. */
typedef struct eelsvae_rows {
  int64_t first, last;
} eelsvae_rows;

/* Takes spectra (count, channels) in C order, counts of a type EELSVAE_INT8 to EELSVAE_FLOAT64, of the pixels
 * first, first + 1, ... in the order y * width + x: rows, parts of rows or single spectra, in any order.
 * final: the rows whose scores became final by it; may be NULL. A mistake, by which nothing is taken: pixels
 * beyond the scan, counts that are not finite in a pixel that is not excluded, a scan that is finished. A
 * mistake that ends the scan, so that every further push, score_provisionally and finish is one, too: its
 * first rows do not suffice to learn from. So does any other failure, EELSVAE_NO_MEMORY say. */
EELSVAE_API eelsvae_status eelsvae_scan_push(eelsvae_scan* scan, int64_t first, int64_t count,
                                             const void* spectra, int32_t type, eelsvae_rows* final);
/* Scores the complete rows that have no score yet as if the scan ended with them. rows: these; may be NULL.
 * For when no spectra are waiting: it costs up to three times what a final row does. */
EELSVAE_API eelsvae_status eelsvae_scan_score_provisionally(eelsvae_scan* scan, eelsvae_rows* rows);
/* The scan is over, complete or not: what is missing is excluded, and all scores become final. A mistake
 * where what has come does not suffice to learn from. */
EELSVAE_API eelsvae_status eelsvae_scan_finish(eelsvae_scan* scan, eelsvae_rows* final);

typedef struct eelsvae_scan_status {
  size_t struct_size;    /* sizeof(eelsvae_scan_status), set by the caller; no more than so much is written */
  int64_t complete_rows; /* from 0 on: all their spectra are there, or they were given up */
  int64_t final_rows;    /* from 0 on; final scores */
  int64_t scored_rows;   /* from 0 on; those from final_rows on have provisional scores */
  int64_t reach; /* a row's score is final when so many rows after it are complete; 0 while learning */
  int64_t received, repeated, late, missing; /* spectra: taken; come again, of which the last one counts; come
                                              * after their row was closed, not taken; never come */
  double threshold; /* of the scores so far: provisional until finished. Infinite while there is none */
  int32_t finished;
  int32_t learning; /* 1: there is no state yet */
} eelsvae_scan_status;

EELSVAE_API eelsvae_status eelsvae_scan_get_status(const eelsvae_scan* scan, eelsvae_scan_status* status);
/* The scores of `rows` rows from `first` on, in C order: NaN in excluded pixels and where there is none yet.
 * count: elements at `scores`, which must be rows * width. */
EELSVAE_API eelsvae_status eelsvae_scan_scores(const eelsvae_scan* scan, int64_t first, int64_t rows,
                                               float* scores, size_t count);
/* What was found so far, or in the end: as of eelsvae_session_detect(), but regions have no explanations, and
 * spectra are not kept. A mistake while there is no score. */
EELSVAE_API eelsvae_status eelsvae_scan_detection(const eelsvae_scan* scan, eelsvae_detection** detection);
/* What a detection measured, by a model or a baseline, to score other scans by. A mistake where that cannot
 * be kept, with what would be right. */
EELSVAE_API eelsvae_status eelsvae_detection_state(const eelsvae_detection* detection, eelsvae_state** state);
/* The state that it scores by, to be kept. A mistake while it is being learned. */
EELSVAE_API eelsvae_status eelsvae_scan_state(const eelsvae_scan* scan, eelsvae_state** state);
EELSVAE_API void eelsvae_scan_destroy(eelsvae_scan* scan);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif
