// Plays a Jenkins file once in each workspace, and writes down what happened into the workspace's file `events`.
//
// Here: the steps and the declarative words that the files in docs/pipelines use. What they use beside these fails, loudly. Not
// here: anything about verdicts.
import groovy.json.JsonSlurper
import org.codehaus.groovy.control.CompilerConfiguration

class Stopped extends RuntimeException {
  Stopped(String why) { super(why) }
}

abstract class Jenkins extends Script {
  static File workspace
  static Map<String, String> env
  static List<String> events

  void note(String what) { events << what.replace('\n', ' ') }

  // Declarative words: they hold what is in them.
  void pipeline(Closure body) { body() }
  void agent(Object which) {}
  void options(Closure body) {}
  void parameters(Closure body) { body() }
  void stages(Closure body) { body() }
  void stage(String name, Closure body) { body() }
  void steps(Closure body) { body() }
  void script(Closure body) { body() }
  void environment(Closure body) {
    body.delegate = env
    body.resolveStrategy = Closure.DELEGATE_FIRST
    body()
  }

  // Steps.
  void node(String label = '', Closure body) { note('node'); body() }
  void checkout(Object scm) {}
  Map file(Map what) { [(what.variable): new File(workspace, 'token').path] }
  Map string(Map what) { what }
  String credentials(String id) { new File(workspace, 'token').path }
  void withCredentials(List<Map> what, Closure body) { what.each { env.putAll(it) }; body() }
  void withEnv(List what, Closure body) {
    Map before = new HashMap(env)
    what.each { String line = it.toString(); int at = line.indexOf('='); env[line.substring(0, at)] = line.substring(at + 1) }
    try { body() } finally { env.clear(); env.putAll(before) }
  }
  void sleep(Map what) {
    if (what.unit != 'SECONDS') { throw new IllegalArgumentException("a wait in ${what.unit}") }
    note("sleep ${what.time}")
  }
  void echo(String what) { note("echo ${what}") }
  void error(String why) { throw new Stopped(why) }
  Object readJSON(Map what) { new JsonSlurper().parse(new File(workspace, what.file)) }
  Object build(Map what) {
    def told = what.parameters.collect { "${it.name}=${it.value}" }.join(' ')
    note("build ${what.job} ${told}")
    File set = new File(workspace, 'job-result')
    String result = set.exists() ? set.text.trim() : 'SUCCESS'
    if (what.propagate != false && result != 'SUCCESS') { throw new Stopped("job ${what.job} ended ${result}") }
    return [result: result]
  }
  Object sh(String script) { return sh(script: script) }
  Object sh(Map what) {
    // As Jenkins runs it: the text in a file, -x and -e, the environment of the build.
    File text = new File(workspace, 'step.sh')
    text.text = what.script
    def builder = new ProcessBuilder('sh', '-xe', text.path).directory(workspace).redirectErrorStream(true)
    builder.environment().clear()
    env.each { name, value -> builder.environment().put(name, value.toString()) }
    builder.environment().put('PATH', new File(workspace, 'bin').path + ':/usr/bin:/bin')
    def process = builder.start()
    process.outputStream.close()
    String said = process.inputStream.text
    int code = process.waitFor()
    note("sh ${code}")
    print(said)
    if (what.returnStatus) { return code }
    if (code != 0) { throw new Stopped("script returned exit code ${code}") }
    return null
  }
}

class Build {
  List<String> events
  void setDescription(String what) { events << "description ${what}".toString() }
}

def config = new CompilerConfiguration()
config.scriptBaseClass = Jenkins.name
// First the step of a shared library, then for each build its file and its workspace.
for (job in args.drop(1).toList().collate(2)) {
  def (String file, String folder) = job
  Jenkins.workspace = new File(folder)
  Jenkins.env = new HashMap<String, String>(System.getenv())
  File set = new File(folder, 'job.env')
  if (set.exists()) { set.eachLine { String line -> int at = line.indexOf('='); Jenkins.env[line.substring(0, at)] = line.substring(at + 1) } }
  Jenkins.events = []
  def binding = new Binding([any: 'any', none: 'none', scm: 'scm', env: Jenkins.env, currentBuild: new Build(events: Jenkins.events)])
  def shell = new GroovyShell(this.class.classLoader, binding, config)
  if (args[0] != '-') {
    def step = shell.parse(new File(args[0]))
    binding.setVariable(new File(args[0]).name - '.groovy', { Map told -> step.call(told) })
  }
  try {
    shell.parse(new File(file)).run()
    Jenkins.events << 'success'
  } catch (Stopped stopped) {
    Jenkins.events << "error ${stopped.message}".toString()
  } catch (Throwable thrown) {
    // Whatever is thrown fails a build, too; a test tells the two apart.
    Jenkins.events << "thrown ${thrown}".toString()
  }
  new File(folder, 'events').text = Jenkins.events.join('\n') + '\n'
}
